//! A figure of the report: its words, its plot in the sizes a page needs, and its numbers as a table.

use super::draw::{self, Axis, Ink, Shape, Size};

/// A figure.
#[derive(Clone, Debug)]
pub struct Figure {
    /// For links, and for tests to find it.
    pub id: String,
    /// What it shows.
    pub title: String,
    /// The unit of its vertical axis; empty for none.
    pub unit: String,
    /// How to read it, where that is not plain.
    pub about: String,
    /// What is what, in the order in which it is seen from top to bottom.
    pub keys: Vec<Key>,
    /// The plot.
    pub plot: Plot,
    /// The same as numbers.
    pub table: Table,
}

/// A plot, or why there is none.
#[derive(Clone, Debug)]
pub enum Plot {
    /// SVG elements, one for each width of the page; its style sheet shows one.
    Drawn(Vec<String>),
    /// The reason.
    None(String),
}

/// An entry of a legend.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its colour's CSS variable.
    pub ink: String,
    /// How it is drawn.
    pub look: Look,
    /// What it is.
    pub name: String,
}

/// How something is drawn: legends must be of use without colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// A filled area.
    Area,
    /// A solid line.
    Line,
    /// A dashed line.
    Dashes,
}

impl Look {
    /// Its class in the style sheet.
    pub fn class(self) -> &'static str {
        match self {
            Look::Area => "area",
            Look::Line => "line",
            Look::Dashes => "dashes",
        }
    }
}

/// Rows of words and numbers.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// The first is of the rows' names.
    pub head: Vec<String>,
    /// As long as the head, each.
    pub rows: Vec<Vec<String>>,
}

/// The widths of the page that a figure is drawn for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// The whole width of a wide page.
    Whole,
    /// Half of it.
    Half,
    /// A third.
    Third,
}

impl Room {
    /// Sizes with the classes that the style sheet shows or hides them by.
    fn sizes(self) -> Vec<(&'static str, Size)> {
        let size = |width, height| Size { width, height };
        let phone = ("narrow", size(350, 230));
        match self {
            Room::Whole => vec![("wide", size(1340, 340)), ("middle", size(680, 300)), phone],
            Room::Half => vec![("wide middle", size(660, 230)), phone],
            Room::Third => vec![("wide middle", size(432, 260)), phone],
        }
    }
}

/// Draws for every width: `shapes` gets the size, as what fits depends on it.
pub fn drawn(
    room: Room,
    label: &str,
    axes: impl Fn(Size) -> (Axis, Axis),
    shapes: impl Fn(Size, &Axis, &Axis) -> Vec<Shape>,
) -> Plot {
    let sizes = room.sizes().into_iter();
    let svgs = sizes.map(|(class, size)| {
        let (x, y) = axes(size);
        let shapes = shapes(size, &x, &y);
        draw::svg(size, class, label, &x, &y, &shapes)
    });
    Plot::Drawn(svgs.collect())
}

/// From 0 to a round number not below `greatest`, with about `wanted` steps.
pub fn from_zero(greatest: f64, wanted: u32, label: impl Fn(f64) -> String) -> Axis {
    let greatest = if greatest.is_finite() && greatest > 0.0 {
        greatest
    } else {
        1.0
    };
    let step = round_step(greatest / f64::from(wanted.max(1)));
    let steps = (greatest / step - 1e-9).ceil().clamp(1.0, 100.0) as u32;
    let values = (0..=steps).map(|n| f64::from(n) * step);
    Axis {
        from: 0.0,
        to: f64::from(steps) * step,
        ticks: values.map(|value| (value, label(value))).collect(),
    }
}

/// Powers of ten around two positive numbers, plotted as their logarithms. Where there are few, 2 and 5 get lines, too.
pub fn logarithmic(least: f64, greatest: f64, label: impl Fn(f64) -> String) -> Axis {
    let least = if least.is_finite() { least.max(1e-12) } else { 1.0 };
    let greatest = if greatest.is_finite() {
        greatest.max(least)
    } else {
        least
    };
    let (mut from, mut to) = (least.log10(), greatest.log10());
    // Less than half a decade would make noise look like a mountain.
    if to - from < 0.5 {
        (from, to) = ((from + to) / 2.0 - 0.25, (from + to) / 2.0 + 0.25);
    }
    (from, to) = (from - (to - from) * 0.08, to + (to - from) * 0.04);
    let mantissas: &[f64] = match to - from {
        ..1.5 => &[1.0, 1.5, 2.0, 3.0, 5.0, 7.0],
        1.5..3.0 => &[1.0, 2.0, 5.0],
        _ => &[1.0],
    };
    let decades = (from.floor() as i32)..=(to.ceil() as i32);
    let values = decades.flat_map(|decade| mantissas.iter().map(move |m| m * 10f64.powi(decade)));
    let every = if to - from > 9.0 { 3 } else { 1 };
    let ticks = values
        .map(|value| (value.log10(), value))
        .filter(|(at, _)| *at >= from && *at <= to && (at.round() as i32) % every == 0)
        .map(|(at, value)| (at, label(value)));
    Axis {
        from,
        to,
        ticks: ticks.collect(),
    }
}

/// Where a value is on a logarithmic axis; what is not positive lies at its lower end.
pub fn on_logarithmic(axis: &Axis, value: f64) -> f64 {
    if value > 0.0 {
        value.log10().clamp(axis.from, axis.to)
    } else {
        axis.from
    }
}

/// Seconds since the start, in steps that clocks have.
pub fn time(from: f64, to: f64, wanted: u32) -> Axis {
    let to = if to > from { to } else { from + 1.0 };
    let rough = (to - from) / f64::from(wanted.max(1));
    let step = TIME_STEPS.iter().copied().find(|step| *step >= rough);
    let step = step.unwrap_or_else(|| round_step(rough / DAY) * DAY);
    let first = (from / step).ceil() as i64;
    let values = (first..).map(|n| n as f64 * step).take(STEPS_MAX);
    let ticks = values.take_while(|value| *value <= to + 1e-9);
    Axis {
        from,
        to,
        ticks: ticks.map(|value| (value, time_label(value, step, to))).collect(),
    }
}

fn time_label(seconds: f64, step: f64, to: f64) -> String {
    let of = |unit: f64, name: &str| format!("{} {name}", crate::quantity::figure(seconds / unit));
    if seconds == 0.0 {
        "0".to_owned()
    } else if step < 60.0 {
        if step.fract() == 0.0 && to > 120.0 {
            let (minutes, seconds) = (seconds.div_euclid(60.0), seconds.rem_euclid(60.0));
            format!("{minutes:.0}:{seconds:02.0} min")
        } else {
            of(1.0, "s")
        }
    } else if step < 3600.0 {
        of(60.0, "min")
    } else if step < DAY {
        of(3600.0, "h")
    } else {
        of(DAY, "d")
    }
}

/// 1, 2, 2.5 or 5 times a power of ten, not below `rough`.
fn round_step(rough: f64) -> f64 {
    let decade = 10f64.powf(rough.log10().floor());
    let found = [1.0, 2.0, 2.5, 5.0]
        .map(|m| m * decade)
        .into_iter()
        .find(|step| *step >= rough * (1.0 - 1e-9));
    found.unwrap_or(10.0 * decade)
}

/// A key of a legend.
pub fn key(ink: Ink, look: Look, name: impl Into<String>) -> Key {
    Key {
        ink: ink.name(),
        look,
        name: name.into(),
    }
}

/// At most `most` of `all`, evenly, the first and the last among them.
pub fn thinned<T>(all: &[T], most: usize) -> Vec<&T> {
    if all.len() <= most || most < 2 {
        return all.iter().take(most.max(1)).collect();
    }
    let last = all.len() - 1;
    (0..most).map(|n| &all[n * last / (most - 1)]).collect()
}

const DAY: f64 = 86_400.0;
const TIME_STEPS: [f64; 20] = [
    0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0,
    7200.0, 21_600.0, 43_200.0, DAY,
];
/// Ticks of an axis; a plot has room for ten.
const STEPS_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn an_axis_ends_at_a_round_number_not_below_the_greatest() {
        let axis = from_zero(9_700.0, 5, crate::quantity::figure);
        assert_eq!(axis.to, 10_000.0);
        assert_eq!(labels(&axis), ["0", "2,000", "4,000", "6,000", "8,000", "10,000"]);
        for greatest in [0.0, f64::NAN, f64::INFINITY, -3.0] {
            assert_eq!(
                from_zero(greatest, 5, crate::quantity::figure).to,
                1.0,
                "{greatest}"
            );
        }
        for greatest in [f64::MAX / 1e3, 1e-300, u64::MAX as f64] {
            let axis = from_zero(greatest, 5, crate::quantity::figure);
            assert!(
                axis.to >= greatest && axis.ticks.len() <= 7,
                "{greatest}: {axis:?}"
            );
        }
    }

    #[test]
    fn a_time_axis_has_steps_that_clocks_have() {
        assert_eq!(labels(&time(0.0, 95.0, 6)), ["0", "20 s", "40 s", "60 s", "80 s"]);
        assert_eq!(
            labels(&time(0.0, 130.0, 5)),
            ["0", "0:30 min", "1:00 min", "1:30 min", "2:00 min"]
        );
        assert_eq!(
            labels(&time(0.0, 400.0, 8)),
            ["0", "1 min", "2 min", "3 min", "4 min", "5 min", "6 min"]
        );
        assert_eq!(
            labels(&time(0.0, 5.0 * DAY, 5)),
            ["0", "1 d", "2 d", "3 d", "4 d", "5 d"]
        );
        assert!(time(0.0, 0.0, 6).to > 0.0);
    }

    #[test]
    fn a_logarithmic_axis_names_decades_and_within_few_of_them_more() {
        let decades = logarithmic(2.0, 90_000.0, crate::quantity::figure);
        assert_eq!(labels(&decades), ["1", "10", "100", "1,000", "10,000", "100,000"]);
        let few = logarithmic(100.0, 900.0, crate::quantity::figure);
        assert!(labels(&few).contains(&"200"), "{few:?}");
        let one = logarithmic(5.0, 5.0, crate::quantity::figure);
        assert!(one.from < 5f64.log10() && 5f64.log10() < one.to);
        assert!(
            logarithmic(0.0, u64::MAX as f64, crate::quantity::figure)
                .ticks
                .len()
                < 20
        );
    }

    #[test]
    fn thinning_keeps_both_ends() {
        let all: Vec<u32> = (0..1000).collect();
        let few = thinned(&all, 5);
        assert_eq!((few.len(), few[0], few[4]), (5, &0, &999));
        assert_eq!(thinned(&all[..3], 5), [&0, &1, &2]);
        assert!(thinned::<u32>(&[], 5).is_empty());
    }
}
