//! The figures that have a run's time from left to right.

use super::draw::{Axis, Ink, Shape, Size};
use super::figure::{self, Figure, Key, Look, Plot, Room, Table};
use crate::quantity::{self, Quantity};
use crate::result::{EventFacts, RunResult, Sample};

/// All of them, in the order of the report.
pub fn figures(result: &RunResult) -> (Figure, Vec<Figure>) {
    let run = Run::of(result);
    let rest = vec![
        run.versions(),
        run.sessions(),
        run.handshakes(),
        run.bytes(),
        run.datagrams(),
        run.blocks(),
        run.cpu(),
        run.memory(),
    ];
    (run.progress(), rest)
}

struct Run<'a> {
    samples: Vec<&'a Sample>,
    events: &'a [EventFacts],
    good: u64,
    from: f64,
    to: f64,
}

/// One quantity over time.
struct Line<'a> {
    ink: Ink,
    look: Look,
    name: &'a str,
    of: &'a dyn Fn(&Sample) -> Option<f64>,
}

/// What a figure of lines is about.
struct Lines<'a> {
    id: &'static str,
    title: &'a str,
    about: &'a str,
    /// What a second is appended to the unit for.
    per_s: bool,
    quantity: Quantity,
    /// The unit's name where the quantity has none.
    unit: &'a str,
    logarithmic: bool,
    lines: &'a [Line<'a>],
}

impl<'a> Run<'a> {
    fn of(result: &'a RunResult) -> Run<'a> {
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

    fn progress(&self) -> Figure {
        let kinds = [
            (Ink::Off, "not connected"),
            (Ink::Connected, "connected"),
            (Ink::Observing, "observing"),
            (Ink::Downloading, "downloading"),
            (Ink::Converged, "converged"),
        ];
        let shares = |sample: &Sample| {
            let connected = sample.connected.min(self.good);
            let converged = sample.converged.min(connected);
            let downloading = sample.downloading.min(connected - converged);
            let observing = sample
                .observing
                .min(connected)
                .saturating_sub(converged + downloading);
            let idle = connected - converged - downloading - observing;
            [self.good - connected, idle, observing, downloading, converged].map(|n| n as f64)
        };
        let mut figure = self.stacked(
            "progress",
            "Progress",
            Room::Whole,
            &kinds.map(|(ink, name)| (ink, name.to_owned())),
            &|sample| shares(sample).to_vec(),
            Stacked::Devices,
        );
        figure.about = "Every good device once, by the last that is true of it: it has a session, its registration has been \
                        answered, it is in a download, it runs what its cohort has deployed. Samples do not say which of the \
                        converged have no session: as many as can be are taken to have one. Numbers above the plot are \
                        events, listed below."
            .to_owned();
        figure
    }

    fn versions(&self) -> Figure {
        // By when they were first seen, which is how old they are, and how many ran them at the most.
        let mut seen: Vec<(&str, u64)> = Vec::new();
        for sample in &self.samples {
            for (version, devices) in sample.versions.iter().filter(|(_, devices)| **devices > 0) {
                match seen.iter_mut().find(|(name, _)| name == version) {
                    Some((_, most)) => *most = (*most).max(*devices),
                    None => seen.push((version, *devices)),
                }
            }
        }
        let others = seen.len() > Ink::NTH;
        let mut by_size: Vec<u64> = seen.iter().map(|(_, most)| *most).collect();
        by_size.sort_unstable_by(|a, b| b.cmp(a));
        let least = if others { by_size[Ink::NTH - 2] } else { 0 };
        let room = if others { Ink::NTH - 1 } else { Ink::NTH };
        let large = seen.iter().filter(|(_, most)| *most >= least);
        let names: Vec<&str> = large.map(|(name, _)| *name).take(room).collect();
        // Stacks are drawn from the top: the oldest version is above.
        let mut kinds: Vec<(Ink, String)> = names
            .iter()
            .enumerate()
            .map(|(n, name)| (Ink::Nth(n), (*name).to_owned()))
            .collect();
        if others {
            kinds.insert(0, (Ink::Nth(Ink::NTH - 1), "all others".to_owned()));
        }
        let shares = |sample: &Sample| {
            let of = |name: &&str| sample.versions.get(*name).copied().unwrap_or(0) as f64;
            let named: Vec<f64> = names.iter().map(of).collect();
            let all: f64 = sample.versions.values().map(|devices| *devices as f64).sum();
            let rest = others.then(|| (all - named.iter().sum::<f64>()).max(0.0));
            let parts: Vec<f64> = rest.into_iter().chain(named).collect();
            let whole = if all > 0.0 { all } else { 1.0 };
            parts.into_iter().map(|part| 100.0 * part / whole).collect()
        };
        let mut figure = self.stacked(
            "versions",
            "Versions",
            Room::Half,
            &kinds,
            &shares,
            Stacked::Shares,
        );
        figure.about = "What the good devices run.".to_owned();
        if kinds.is_empty() && !self.samples.is_empty() {
            figure.plot = Plot::None("no data: no sample names a version".to_owned());
        }
        figure
    }

    fn sessions(&self) -> Figure {
        self.lines(&Lines {
            id: "sessions",
            title: "Sessions",
            about: "The gateway keeps sessions of devices that went away without a word, until it misses them, and those of \
                    bad devices, if it ever lets them in.",
            per_s: false,
            quantity: Quantity::Count,
            unit: "sessions",
            logarithmic: false,
            lines: &[
                Line {
                    ink: Ink::First,
                    look: Look::Line,
                    name: "as the good devices see them",
                    of: &|sample| Some(sample.connected as f64),
                },
                Line {
                    ink: Ink::Second,
                    look: Look::Dashes,
                    name: "as the gateway counts them",
                    of: &|sample| sample.server_sessions.map(|sessions| sessions as f64),
                },
            ],
        })
    }

    fn handshakes(&self) -> Figure {
        self.lines(&Lines {
            id: "handshakes",
            title: "Handshakes",
            about: "Done, as the devices see them.",
            per_s: true,
            quantity: Quantity::Plain,
            unit: "handshakes",
            logarithmic: false,
            lines: &[Line {
                ink: Ink::First,
                look: Look::Line,
                name: "handshakes done",
                of: &|sample| Some(sample.handshakes_per_s),
            }],
        })
    }

    fn bytes(&self) -> Figure {
        self.lines(&Lines {
            id: "bytes",
            title: "Artifact bytes",
            about: "Received by the devices, without what carries them.",
            per_s: true,
            quantity: Quantity::Bytes,
            unit: "",
            logarithmic: false,
            lines: &[Line {
                ink: Ink::First,
                look: Look::Line,
                name: "artifact bytes received",
                of: &|sample| Some(sample.bytes_per_s),
            }],
        })
    }

    fn datagrams(&self) -> Figure {
        self.lines(&Lines {
            id: "datagrams",
            title: "Datagrams",
            about: "",
            per_s: true,
            quantity: Quantity::Plain,
            unit: "datagrams",
            logarithmic: false,
            lines: &[
                Line {
                    ink: Ink::First,
                    look: Look::Line,
                    name: "sent by devices",
                    of: &|sample| Some(sample.datagrams_out_per_s),
                },
                Line {
                    ink: Ink::Second,
                    look: Look::Dashes,
                    name: "received by devices",
                    of: &|sample| Some(sample.datagrams_in_per_s),
                },
            ],
        })
    }

    fn blocks(&self) -> Figure {
        self.lines(&Lines {
            id: "block-over-time",
            title: "Block latency",
            about: "From a block's first request to its answer, of those answered since the sample before.",
            per_s: false,
            quantity: Quantity::Micros,
            unit: "",
            logarithmic: true,
            lines: &[
                Line {
                    ink: Ink::First,
                    look: Look::Line,
                    name: "median",
                    of: &|sample| sample.block_p50_p99.map(|(p50, _)| p50 as f64),
                },
                Line {
                    ink: Ink::Second,
                    look: Look::Dashes,
                    name: "99th percentile",
                    of: &|sample| sample.block_p50_p99.map(|(_, p99)| p99 as f64),
                },
            ],
        })
    }

    fn cpu(&self) -> Figure {
        self.lines(&Lines {
            id: "cpu",
            title: "CPU",
            about: "",
            per_s: false,
            quantity: Quantity::Plain,
            unit: "cores",
            logarithmic: false,
            lines: &[
                Line {
                    ink: Ink::First,
                    look: Look::Line,
                    name: "gateway",
                    of: &|sample| sample.server_cpu,
                },
                Line {
                    ink: Ink::Second,
                    look: Look::Dashes,
                    name: "simulator",
                    of: &|sample| Some(sample.own_cpu),
                },
            ],
        })
    }

    fn memory(&self) -> Figure {
        self.lines(&Lines {
            id: "memory",
            title: "Memory of the gateway",
            about: "",
            per_s: false,
            quantity: Quantity::Bytes,
            unit: "",
            logarithmic: false,
            lines: &[Line {
                ink: Ink::First,
                look: Look::Line,
                name: "resident",
                of: &|sample| sample.server_memory.map(|bytes| bytes as f64),
            }],
        })
    }

    /// Areas on each other; `kinds` and what `parts` gives go from top to bottom.
    fn stacked(
        &self,
        id: &'static str,
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
                    |size| (self.time(size), figure::from_zero(greatest, 5, quantity::figure)),
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
            id,
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

    fn lines(&self, lines: &Lines<'_>) -> Figure {
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
            keys.push(figure::key(Ink::Gap, Look::Area, "the gateway did not answer"));
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
                        figure::logarithmic(least, greatest, |value| lines.quantity.with_unit(value))
                    } else {
                        figure::from_zero(scaled(greatest), 5, quantity::figure)
                    };
                    (self.time(size), y)
                },
                |size, x, y| {
                    let mut shapes = Vec::new();
                    if !lines.logarithmic {
                        shapes.extend(gaps.iter().map(|(from, to)| Shape::Span {
                            ink: Ink::Gap,
                            from: *from,
                            to: *to,
                        }));
                    }
                    let at = |value: f64| {
                        if lines.logarithmic {
                            figure::on_logarithmic(y, value)
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
                                    ink: Ink::Wash,
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
            id: lines.id,
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

    fn time(&self, size: Size) -> Axis {
        let (across, _) = size.plotted();
        figure::time(self.from, self.to, (across / 90.0) as u32)
    }

    /// A line for each event, flagged with its number in the list. Flags that would touch are one, `3–7`; where there are
    /// more lines than a plot can bear, only the first of each flag is drawn.
    fn moments(&self, size: Size, x: &Axis) -> Vec<Shape> {
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

/// What is stacked.
#[derive(Clone, Copy)]
enum Stacked {
    Devices,
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

/// Samples that a plot is drawn from: the page's widest has three pixels for each.
const SAMPLES_MAX: usize = 400;
/// Rows of a figure's table: for reading, not for computing, which the JSON document is for.
const ROWS_MAX: usize = 40;
/// Lines for events; more would be a wall.
const MOMENTS_MAX: usize = 40;
/// Pixels of a letter, about, and of a line of them.
const LETTER: f64 = 6.6;
const LETTERS_HIGH: f64 = 17.0;
