//! Plots as SVG: the only file that knows `plotters`. Colours are named, not chosen: every one becomes a CSS variable, so
//! that a page can be light, dark or printed without a second drawing.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::{ChartBuilder, Circle, IntoDrawingArea, IntoFont, LineSeries, PathElement};
use plotters::prelude::{Polygon, RGBColor, Rectangle, SVGBackend, ShapeStyle, Text, TextStyle};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{BLACK, Color};

/// What something is drawn in: a CSS variable of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// Axis and its labels.
    Axis,
    /// The grid.
    Grid,
    /// Words on an area.
    Words,
    /// The line between two areas.
    Paper,
    /// An event.
    Event,
    /// While nothing was known.
    Gap,
    /// Devices without a session.
    Off,
    /// Devices with one.
    Connected,
    /// Registered ones.
    Observing,
    /// In a download.
    Downloading,
    /// That run what they should.
    Converged,
    /// A line: the first, solid.
    First,
    /// A line: the second, dashed.
    Second,
    /// Below a line.
    Wash,
    /// The n-th of several, up to [`Ink::NTH`].
    Nth(usize),
}

impl Ink {
    /// Kinds of one figure that have a colour of their own.
    pub const NTH: usize = 7;

    const PLAIN: [Ink; 14] = [
        Ink::Axis,
        Ink::Grid,
        Ink::Words,
        Ink::Paper,
        Ink::Event,
        Ink::Gap,
        Ink::Off,
        Ink::Connected,
        Ink::Observing,
        Ink::Downloading,
        Ink::Converged,
        Ink::First,
        Ink::Second,
        Ink::Wash,
    ];

    /// The name of its CSS variable, without the dashes.
    pub fn name(self) -> String {
        match self {
            Ink::Axis => "axis".to_owned(),
            Ink::Grid => "grid".to_owned(),
            Ink::Words => "words".to_owned(),
            Ink::Paper => "paper".to_owned(),
            Ink::Event => "event".to_owned(),
            Ink::Gap => "gap".to_owned(),
            Ink::Off => "off".to_owned(),
            Ink::Connected => "connected".to_owned(),
            Ink::Observing => "observing".to_owned(),
            Ink::Downloading => "downloading".to_owned(),
            Ink::Converged => "converged".to_owned(),
            Ink::First => "first".to_owned(),
            Ink::Second => "second".to_owned(),
            Ink::Wash => "wash".to_owned(),
            Ink::Nth(n) => format!("nth{}", n.min(Ink::NTH - 1)),
        }
    }

    /// What plotters is told; [`svg`] puts the variable in its place.
    fn stand_in(self) -> RGBColor {
        let number = match self {
            Ink::Nth(n) => Ink::PLAIN.len() + n.min(Ink::NTH - 1),
            Ink::Axis | Ink::Grid | Ink::Words | Ink::Paper | Ink::Event | Ink::Gap | Ink::Off => {
                self.place()
            }
            Ink::Connected | Ink::Observing | Ink::Downloading | Ink::Converged => self.place(),
            Ink::First | Ink::Second | Ink::Wash => self.place(),
        };
        RGBColor(number as u8, 0x5e, 0xed)
    }

    fn place(self) -> usize {
        Ink::PLAIN.iter().position(|ink| *ink == self).unwrap_or(0)
    }
}

/// An axis: its ends, and where it says what.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// Least.
    pub from: f64,
    /// Greatest.
    pub to: f64,
    /// Grid lines with their labels.
    pub ticks: Vec<(f64, String)>,
}

/// Something in a plot, in the units of the axes; drawn in the order given.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// Between two lines: x, lower, upper.
    Band { ink: Ink, points: Vec<(f64, f64, f64)> },
    /// A line; a dot where it has one point.
    Line { ink: Ink, points: Vec<(f64, f64)> },
    /// From bottom to top.
    Span { ink: Ink, from: f64, to: f64 },
    /// A line from bottom to top.
    Moment { at: f64 },
    /// Words above the plot.
    Flag { at: f64, words: String },
    /// A point with words to its lower right.
    Point { ink: Ink, at: (f64, f64), words: String },
    /// Words that begin a little to the right.
    Name { at: (f64, f64), words: String },
    /// Words in the middle of an area.
    Words { at: (f64, f64), words: String },
}

/// In CSS pixels of the size that it is drawn for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// From left to right.
    pub width: u32,
    /// From top to bottom.
    pub height: u32,
}

impl Size {
    /// Pixels between the axes.
    pub fn plotted(self) -> (f64, f64) {
        let across = self.width.saturating_sub(LEFT + RIGHT);
        let down = self.height.saturating_sub(TOP + BOTTOM);
        (f64::from(across), f64::from(down))
    }
}

/// The plot as an `svg` element of class `class`, to be put into a page; `label` is what it shows, in words.
pub fn svg(size: Size, class: &str, label: &str, x: &Axis, y: &Axis, shapes: &[Shape]) -> String {
    let mut drawn = String::new();
    draw(&mut drawn, size, x, y, shapes).expect("a string takes whatever is drawn into it");
    let body = drawn.split_once('>').map_or("", |(_, body)| body);
    let mut body = body
        .replace(" opacity=\"1\"", "")
        .replace(" font-family=\"sans-serif\"", "")
        .replace(" stroke=\"none\"", "")
        .replace(" \"/>", "\"/>");
    for ink in Ink::PLAIN.into_iter().chain((0..Ink::NTH).map(Ink::Nth)) {
        let RGBColor(r, g, b) = ink.stand_in();
        body = body.replace(
            &format!("\"#{r:02X}{g:02X}{b:02X}\""),
            &format!("\"var(--{})\"", ink.name()),
        );
    }
    let (width, height) = (size.width * FINE, size.height * FINE);
    let label = askama::filters::escape(label, askama::filters::Html)
        .map_or_else(|_| String::new(), |safe| safe.to_string());
    format!(
        "<svg class=\"{class}\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{label}\">{body}"
    )
}

fn draw(
    drawn: &mut String,
    size: Size,
    x: &Axis,
    y: &Axis,
    shapes: &[Shape],
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let root = SVGBackend::with_string(drawn, (size.width * FINE, size.height * FINE)).into_drawing_area();
    let mut chart = ChartBuilder::on(&root)
        .margin_top(TOP * FINE)
        .margin_right(RIGHT * FINE)
        .x_label_area_size(BOTTOM * FINE)
        .y_label_area_size(LEFT * FINE)
        .build_cartesian_2d(Ruled::of(x), Ruled::of(y))?;
    let words = |ink: Ink| TextStyle {
        color: ink.stand_in().to_backend_color(),
        ..TextStyle::from(("sans-serif", TEXT * FINE).into_font())
    };
    let stroke = |ink: Ink, width: f64| ShapeStyle {
        color: ink.stand_in().to_rgba(),
        filled: false,
        stroke_width: (width * f64::from(FINE)) as u32,
    };
    let mut mesh = chart.configure_mesh();
    // One grid is enough: that of the axis on which values are.
    if !y.ticks.is_empty() {
        mesh.disable_x_mesh();
    }
    mesh.axis_style(stroke(Ink::Axis, 1.0))
        .bold_line_style(stroke(Ink::Grid, 1.0))
        .light_line_style(BLACK.mix(0.0))
        .set_all_tick_mark_size(4 * FINE)
        .label_style(words(Ink::Axis))
        .draw()?;
    for shape in shapes {
        match shape {
            Shape::Band { ink, points } => {
                let upper = points.iter().map(|(x, _, upper)| (*x, *upper));
                let lower = points.iter().rev().map(|(x, lower, _)| (*x, *lower));
                let outline: Vec<(f64, f64)> = upper.clone().chain(lower).collect();
                chart.draw_series([Polygon::new(outline, ink.stand_in())])?;
                chart.draw_series([PathElement::new(
                    upper.collect::<Vec<_>>(),
                    stroke(Ink::Paper, 1.0),
                )])?;
            }
            Shape::Line { ink, points } => match points.as_slice() {
                [] => {}
                [at] => {
                    chart.draw_series([Circle::new(*at, 3 * FINE, ink.stand_in().filled())])?;
                }
                [_, _, ..] => {
                    chart.draw_series(LineSeries::new(points.iter().copied(), stroke(*ink, LINE)))?;
                }
            },
            Shape::Span { ink, from, to } => {
                chart.draw_series([Rectangle::new(
                    [(*from, y.from), (*to, y.to)],
                    ink.stand_in().filled(),
                )])?;
            }
            Shape::Moment { at } => {
                chart.draw_series([PathElement::new(
                    vec![(*at, y.from), (*at, y.to)],
                    stroke(Ink::Event, 1.0),
                )])?;
            }
            Shape::Flag { at, words: said } => {
                let above = words(Ink::Event).pos(Pos::new(HPos::Center, VPos::Bottom));
                let (across, down) = chart.backend_coord(&(*at, y.to));
                root.draw(&Text::new(said.clone(), (across, down - 3 * FINE as i32), above))?;
            }
            Shape::Point { ink, at, words: said } => {
                chart.draw_series([Circle::new(*at, 3 * FINE, ink.stand_in().filled())])?;
                let beside = words(Ink::Words).pos(Pos::new(HPos::Left, VPos::Top));
                let (across, down) = chart.backend_coord(at);
                let away = 4 * FINE as i32;
                root.draw(&Text::new(said.clone(), (across + away, down + away), beside))?;
            }
            Shape::Name { at, words: said } => {
                let beside = words(Ink::Words).pos(Pos::new(HPos::Left, VPos::Center));
                let (across, down) = chart.backend_coord(at);
                root.draw(&Text::new(said.clone(), (across + 6 * FINE as i32, down), beside))?;
            }
            Shape::Words { at, words: said } => {
                let amid = words(Ink::Words).pos(Pos::new(HPos::Center, VPos::Center));
                let place = chart.backend_coord(at);
                root.draw(&Text::new(said.clone(), place, amid))?;
            }
        }
    }
    root.present()?;
    Ok(())
}

/// An axis as plotters asks for it: where it has lines is ours to say.
struct Ruled {
    axis: Axis,
    linear: RangedCoordf64,
}

impl Ruled {
    fn of(axis: &Axis) -> Ruled {
        Ruled {
            axis: axis.clone(),
            linear: (axis.from..axis.to).into(),
        }
    }
}

impl Ranged for Ruled {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        self.linear.map(value, limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() {
            return Vec::new();
        }
        self.axis.ticks.iter().map(|(at, _)| *at).collect()
    }

    fn range(&self) -> Range<f64> {
        self.linear.range()
    }
}

impl ValueFormatter<f64> for Ruled {
    fn format_ext(&self, at: &f64) -> String {
        let found = self.axis.ticks.iter().find(|(value, _)| value == at);
        found.map_or_else(String::new, |(_, label)| label.clone())
    }
}

/// Steps of a coordinate in one CSS pixel: plotters' own are whole numbers, which a screen shows as steps.
const FINE: u32 = 10;
/// Room for the labels of the left axis, `1,000,000`.
const LEFT: u32 = 70;
/// Room for the half of the last label of the lower axis that stands out.
const RIGHT: u32 = 20;
/// Room for the flags of events.
const TOP: u32 = 18;
const BOTTOM: u32 = 24;
/// Of all words in a plot; plotters takes 1.24 times what it writes.
const TEXT: u32 = 15;
const LINE: f64 = 1.8;
