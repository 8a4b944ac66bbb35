//! Axes: where they begin and end, and where they say what.

use super::draw::Axis;
use super::number::figure;

/// From 0 to a round number not below `greatest`, with about `wanted` steps.
#[must_use]
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
#[must_use]
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
#[must_use]
pub fn on_logarithmic(axis: &Axis, value: f64) -> f64 {
    if value > 0.0 {
        value.log10().clamp(axis.from, axis.to)
    } else {
        axis.from
    }
}

/// Seconds since the start, in steps that clocks have.
#[must_use]
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
    let of = |unit: f64, name: &str| format!("{} {name}", figure(seconds / unit));
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
        let axis = from_zero(9_700.0, 5, figure);
        assert_eq!(axis.to, 10_000.0);
        assert_eq!(labels(&axis), ["0", "2,000", "4,000", "6,000", "8,000", "10,000"]);
        for greatest in [0.0, f64::NAN, f64::INFINITY, -3.0] {
            assert_eq!(from_zero(greatest, 5, figure).to, 1.0, "{greatest}");
        }
        for greatest in [f64::MAX / 1e3, 1e-300, u64::MAX as f64] {
            let axis = from_zero(greatest, 5, figure);
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
        let decades = logarithmic(2.0, 90_000.0, figure);
        assert_eq!(labels(&decades), ["1", "10", "100", "1,000", "10,000", "100,000"]);
        let few = logarithmic(100.0, 900.0, figure);
        assert!(labels(&few).contains(&"200"), "{few:?}");
        let one = logarithmic(5.0, 5.0, figure);
        assert!(one.from < 5f64.log10() && 5f64.log10() < one.to);
        assert!(logarithmic(0.0, u64::MAX as f64, figure).ticks.len() < 20);
    }
}
