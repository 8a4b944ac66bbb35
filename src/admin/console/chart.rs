//! Pictures over time: each drawn for a wide page and for a narrow one, with a legend, and with its numbers as a table for
//! whoever does not see it.

use super::show::{Bytes, Count};
use crate::admin::shapes;
use crate::control::{DeploymentHistory, FleetHistory, FleetPoint, Progress};
use crate::picture::{self, Axis, Ink, Shape, Size};

/// A picture with what belongs to it.
#[derive(Debug, Clone)]
pub struct Chart {
    /// For the script, which keeps it up to date.
    pub id: &'static str,
    /// What it shows.
    pub title: &'static str,
    /// SVG of our own making, one for each width; the style sheet shows one of them. Empty where there is nothing to draw.
    pub drawn: Vec<String>,
    /// Colours by their class, and what they stand for.
    pub keys: Vec<(&'static str, &'static str)>,
    /// How many vertical lines there are, each where something was deployed.
    pub marked: usize,
    /// The table's head.
    pub head: Vec<&'static str>,
    /// The table's rows, newest first.
    pub rows: Vec<Vec<String>>,
}

/// Something that happened at a time: a vertical line.
#[derive(Debug, Clone)]
pub struct Marker {
    /// When, in milliseconds of Unix time.
    pub at_ms: i64,
    /// The sequence number, which stands above the line.
    pub sequence: u32,
}

/// Where the devices of a deployment were: areas on each other, done lowest.
pub fn progress(history: &DeploymentHistory, begun_ms: i64) -> Chart {
    const STAGES: [(&str, &str); 7] = [
        ("failed", "failed-area"),
        ("pending", "pending-area"),
        ("notified", "notified-area"),
        ("downloading", "downloading-area"),
        ("downloaded", "downloaded-area"),
        ("updating", "updating-area"),
        ("done", "done-area"),
    ];
    let values = |progress: &Progress| {
        [
            progress.failed,
            progress.pending,
            progress.notified,
            progress.downloading,
            progress.downloaded,
            progress.updating,
            progress.done,
        ]
    };
    let points = &history.points;
    let seconds = |at_ms: i64| ((at_ms - begun_ms) as f64 / 1000.0).max(0.0);
    let greatest = points
        .iter()
        .map(|point| values(&point.progress).iter().sum::<u64>())
        .max();
    let last = points.last().map_or(0.0, |point| seconds(point.at_ms));
    let drawn = match greatest {
        None | Some(0) => Vec::new(),
        Some(greatest) => drawn(
            WHOLE,
            "Devices by state since the deployment was made",
            |size, narrow| {
                let x = picture::time(0.0, last, if narrow { 4 } else { 8 });
                let y = count_axis(greatest);
                let mut bands: Vec<Vec<(f64, f64, f64)>> = vec![Vec::new(); STAGES.len()];
                for point in points {
                    let mut below = 0.0;
                    for (band, value) in bands.iter_mut().zip(values(&point.progress)).rev() {
                        let upper = below + value as f64;
                        band.push((seconds(point.at_ms), below, upper));
                        below = upper;
                    }
                }
                let shapes = bands.into_iter().zip(STAGES).map(|(mut points, (_, ink))| {
                    // A point that is alone is drawn as if it had lasted: an area of no width would not be seen.
                    if let [(at, lower, upper)] = points[..] {
                        points.push((at + 1.0, lower, upper));
                    }
                    Shape::Band {
                        ink: Ink(ink),
                        points,
                    }
                });
                let shapes = shapes.collect();
                (size, x, y, shapes)
            },
        ),
    };
    Chart {
        id: "progress-over-time",
        title: "Progress over time",
        drawn,
        keys: STAGES.iter().rev().map(|(state, _)| (*state, *state)).collect(),
        marked: 0,
        head: ["Time (UTC)"]
            .into_iter()
            .chain(STAGES.iter().rev().map(|(state, _)| *state))
            .collect(),
        rows: table(points, |point| {
            let mut row = vec![shapes::time(point.at_ms)];
            row.extend(
                values(&point.progress)
                    .iter()
                    .rev()
                    .map(|value| Count(*value).to_string()),
            );
            row
        }),
    }
}

/// Devices that were connected, and those that observed.
pub fn connected(history: &FleetHistory, from_ms: i64, now_ms: i64, markers: &[Marker]) -> Chart {
    let greatest = history
        .points
        .iter()
        .map(|point| point.connected.max(point.observing))
        .max();
    lines(
        Chart {
            id: "connected-over-time",
            title: "Connected and observing",
            drawn: Vec::new(),
            keys: vec![("first", "connected"), ("second", "observing")],
            marked: 0,
            head: vec!["Time (UTC)", "connected", "observing"],
            rows: table(&history.points, |point| {
                vec![
                    shapes::time(point.at_ms),
                    Count(point.connected).to_string(),
                    Count(point.observing).to_string(),
                ]
            }),
        },
        &Lines {
            history,
            from_ms,
            now_ms,
            markers,
            y: count_axis(greatest.unwrap_or_default()),
            of: &[
                ("first", &|point| point.connected as f64),
                ("second", &|point| point.observing as f64),
            ],
        },
    )
}

/// Bytes of artifacts that went to devices, in a second.
pub fn bandwidth(history: &FleetHistory, from_ms: i64, now_ms: i64, markers: &[Marker]) -> Chart {
    let greatest = history
        .points
        .iter()
        .map(|point| point.bytes_per_second)
        .fold(0.0, f64::max);
    lines(
        Chart {
            id: "bandwidth-over-time",
            title: "Bytes of artifacts per second",
            drawn: Vec::new(),
            keys: vec![("first", "bytes per second")],
            marked: 0,
            head: vec!["Time (UTC)", "bytes per second"],
            rows: table(&history.points, |point| {
                vec![shapes::time(point.at_ms), rate(point.bytes_per_second)]
            }),
        },
        &Lines {
            history,
            from_ms,
            now_ms,
            markers,
            y: bytes_axis(greatest),
            of: &[("first", &|point| point.bytes_per_second)],
        },
    )
}

/// Bytes in a second, as they are written.
pub fn rate(bytes_per_second: f64) -> String {
    // Negative and absurd rates are none; the cast saturates.
    format!("{}/s", Bytes(bytes_per_second.max(0.0) as u64))
}

/// Its ink, and its value at a point.
type Line<'a> = (&'static str, &'a dyn Fn(&FleetPoint) -> f64);

struct Lines<'a> {
    history: &'a FleetHistory,
    from_ms: i64,
    now_ms: i64,
    markers: &'a [Marker],
    y: Axis,
    /// The first one with the area below it, so that another one that runs upon it hides neither.
    of: &'a [Line<'a>],
}

fn lines(mut chart: Chart, lines: &Lines<'_>) -> Chart {
    let points = &lines.history.points;
    if points.is_empty() {
        return chart;
    }
    // Seconds before now, so that ticks are round and stay where they are.
    let seconds = |at_ms: i64| (at_ms - lines.now_ms) as f64 / 1000.0;
    let markers: Vec<&Marker> = lines
        .markers
        .iter()
        .filter(|marker| (lines.from_ms..=lines.now_ms).contains(&marker.at_ms))
        .collect();
    chart.marked = markers.len();
    let label = chart.title;
    chart.drawn = drawn(HALF, label, |size, narrow| {
        let mut x = picture::time(seconds(lines.from_ms), 0.0, if narrow { 3 } else { 6 });
        for (at, words) in &mut x.ticks {
            if *at == 0.0 {
                "now".clone_into(words);
            }
        }
        let mut areas = Vec::new();
        let mut shapes = Vec::new();
        for (place, (ink, of)) in lines.of.iter().enumerate() {
            // Where the gateway did not run there is no point, and no line.
            let far = lines.history.step_ms.saturating_mul(3);
            for stretch in points.chunk_by(|a, b| b.at_ms - a.at_ms <= far) {
                let points = stretch.iter().map(|point| (seconds(point.at_ms), of(point)));
                let points: Vec<_> = points.filter(|(at, _)| *at >= x.from).collect();
                if place == 0 && points.len() > 1 {
                    areas.push(Shape::Band {
                        ink: Ink("first-area"),
                        points: points.iter().map(|(at, value)| (*at, 0.0, *value)).collect(),
                    });
                }
                shapes.push(Shape::Line {
                    ink: Ink(ink),
                    points,
                });
            }
        }
        shapes.splice(0..0, areas);
        shapes.extend(flags(&markers, &x, size, &seconds));
        (size, x, lines.y.clone(), shapes)
    });
    chart
}

/// A line for each marker. Flags that would touch are one, which says from which number to which.
fn flags(markers: &[&Marker], x: &Axis, size: Size, seconds: &dyn Fn(i64) -> f64) -> Vec<Shape> {
    let (across, _) = size.plotted();
    let near = FLAG_PIXELS * (x.to - x.from) / across.max(1.0);
    let placed: Vec<(f64, u32)> = markers
        .iter()
        .map(|marker| (seconds(marker.at_ms), marker.sequence))
        .collect();
    let mut shapes: Vec<Shape> = placed.iter().map(|(at, _)| Shape::Moment { at: *at }).collect();
    for near_each_other in placed.chunk_by(|(a, _), (b, _)| b - a < near) {
        let sequences = || near_each_other.iter().map(|(_, sequence)| *sequence);
        if let (Some((from, _)), Some((to, _)), Some(least), Some(greatest)) = (
            near_each_other.first(),
            near_each_other.last(),
            sequences().min(),
            sequences().max(),
        ) {
            shapes.push(Shape::Flag {
                at: f64::midpoint(*from, *to),
                words: if least == greatest {
                    format!("#{least}")
                } else {
                    format!("#{least}–{greatest}")
                },
            });
        }
    }
    shapes
}

/// For a wide page, `wide` CSS pixels of it, and for a narrow one.
fn drawn(wide: u32, label: &str, of: impl Fn(Size, bool) -> (Size, Axis, Axis, Vec<Shape>)) -> Vec<String> {
    let sizes = [("wide", wide, 220), ("narrow", 330, 210)];
    let each = sizes.iter().map(|(class, width, height)| {
        let size = Size {
            width: *width,
            height: *height,
        };
        let (size, x, y, shapes) = of(size, *class == "narrow");
        picture::svg(size, class, label, &x, &y, &shapes)
    });
    each.collect()
}

fn count_axis(greatest: u64) -> Axis {
    let steps = u32::try_from(greatest.clamp(1, 4)).unwrap_or(4);
    picture::from_zero(greatest as f64, steps, |value| Count(value as u64).to_string())
}

/// Its ticks are round in the unit in which the greatest is written.
fn bytes_axis(greatest: f64) -> Axis {
    let unit = [1024.0 * 1024.0 * 1024.0, 1024.0 * 1024.0, 1024.0]
        .into_iter()
        .find(|unit| greatest >= *unit)
        .unwrap_or(1.0);
    let name = match unit as u64 {
        1 => "B",
        1024 => "KiB",
        1_048_576 => "MiB",
        _ => "GiB",
    };
    // Where nothing moves, whole bytes.
    let least = if unit == 1.0 { 4.0 } else { 1.0 };
    let axis = picture::from_zero((greatest / unit).max(least), 4, |value| {
        match picture::figure(value) {
            zero if value == 0.0 => zero,
            figure => format!("{figure} {name}"),
        }
    });
    Axis {
        from: 0.0,
        to: axis.to * unit,
        ticks: axis
            .ticks
            .into_iter()
            .map(|(at, words)| (at * unit, words))
            .collect(),
    }
}

/// Some of the points, the newest among them and first.
fn table<T>(points: &[T], row: impl Fn(&T) -> Vec<String>) -> Vec<Vec<String>> {
    let step = points.len().div_ceil(ROWS_MAX).max(1);
    points.iter().rev().step_by(step).map(row).collect()
}

/// The whole width of a page, and half of it, in CSS pixels.
const WHOLE: u32 = 1160;
const HALF: u32 = 560;
/// Rows of a picture's table: to be read aloud, not to be computed with; the API has all of them.
const ROWS_MAX: usize = 24;
/// Flags nearer than this would run into each other.
const FLAG_PIXELS: f64 = 56.0;

#[cfg(test)]
mod tests {
    use super::{Marker, bandwidth, connected, progress};
    use crate::control::{DeploymentHistory, FleetHistory, FleetPoint, Progress, ProgressPoint};

    #[test]
    fn areas_are_drawn_for_both_widths_and_their_numbers_are_in_the_table() {
        let point = |at_ms, done, failed| ProgressPoint {
            at_ms,
            progress: Progress {
                pending: 10 - done - failed,
                done,
                failed,
                ..Progress::default()
            },
        };
        let history = DeploymentHistory {
            step_ms: 1000,
            points: vec![point(5000, 0, 0), point(6000, 4, 1), point(9000, 9, 1)],
        };
        let chart = progress(&history, 5000);
        assert_eq!(chart.drawn.len(), 2);
        for svg in &chart.drawn {
            for ink in ["--done-area", "--failed-area", "--pending-area"] {
                assert!(svg.contains(&format!("var({ink})")), "{ink}: {svg}");
            }
        }
        assert_eq!(chart.rows.len(), 3);
        assert_eq!(chart.head[1], "done");
        assert_eq!(chart.rows[0][1], "9", "the newest is first");
        assert!(progress(&DeploymentHistory::default(), 0).drawn.is_empty());
    }

    #[test]
    fn a_line_ends_where_the_gateway_did_and_deployments_are_flagged() {
        let point = |at_ms| FleetPoint {
            at_ms,
            connected: 7,
            observing: 7,
            bytes_per_second: 2048.0,
            ..FleetPoint::default()
        };
        let whole = FleetHistory {
            step_ms: 10_000,
            points: (1..=60).map(|n| point(n * 10_000)).collect(),
        };
        let mut broken = whole.clone();
        broken
            .points
            .retain(|point| !(200_000..300_000).contains(&point.at_ms));
        let lines = |history: &FleetHistory| {
            let chart = connected(history, 0, 600_000, &[]);
            chart.drawn[0].matches("<polyline").count()
        };
        assert_eq!(
            lines(&broken),
            lines(&whole) + 3,
            "two lines and an area, each in two parts"
        );

        let markers = [100_000, 101_000, 500_000].map(|at_ms| Marker {
            at_ms,
            sequence: u32::try_from(at_ms / 1000).unwrap(),
        });
        let chart = bandwidth(&whole, 0, 600_000, &markers);
        assert_eq!(chart.marked, 3);
        for svg in &chart.drawn {
            assert!(svg.contains("#500") && svg.contains("#100–101"), "{svg}");
        }
        assert!(chart.drawn[0].contains("KiB"), "{}", chart.drawn[0]);
        assert_eq!(chart.rows[0][1], "2.0 KiB/s");
    }
}
