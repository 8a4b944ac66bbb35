//! Plots as SVG: the only file that knows `plotters`. Colours are named, not chosen: every one becomes a CSS variable, so
//! that a page can be light, dark or printed without a second drawing.

use std::cell::RefCell;
use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::{ChartBuilder, Circle, IntoDrawingArea, IntoFont, LineSeries, PathElement};
use plotters::prelude::{Polygon, RGBColor, Rectangle, SVGBackend, ShapeStyle, Text, TextStyle};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{BLACK, Color};

/// What something is drawn in: the name of a CSS variable of the page, without the dashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ink(pub &'static str);

impl Ink {
    /// Axis and its labels.
    pub const AXIS: Ink = Ink("axis");
    /// The grid.
    pub const GRID: Ink = Ink("grid");
    /// Words on an area.
    pub const WORDS: Ink = Ink("words");
    /// The line between two areas.
    pub const PAPER: Ink = Ink("paper");
    /// An event.
    pub const EVENT: Ink = Ink("event");
}

/// The inks of a drawing. Plotters is told a number for each; [`svg`] puts the variables in their places.
struct Inks(RefCell<Vec<Ink>>);

impl Inks {
    fn stand_in(&self, ink: Ink) -> RGBColor {
        let mut inks = self.0.borrow_mut();
        let place = inks.iter().position(|known| *known == ink).unwrap_or_else(|| {
            inks.push(ink);
            inks.len() - 1
        });
        // A drawing with more inks than a byte counts would show the last ones alike.
        RGBColor(u8::try_from(place).unwrap_or(u8::MAX), 0x5e, 0xed)
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
    /// Between two lines.
    Band {
        /// Its colour.
        ink: Ink,
        /// x, lower, upper.
        points: Vec<(f64, f64, f64)>,
    },
    /// A line; a dot where it has one point.
    Line {
        /// Its colour.
        ink: Ink,
        /// From left to right.
        points: Vec<(f64, f64)>,
    },
    /// From bottom to top.
    Span {
        /// Its colour.
        ink: Ink,
        /// Its left edge.
        from: f64,
        /// Its right edge.
        to: f64,
    },
    /// A line from bottom to top.
    Moment {
        /// Where.
        at: f64,
    },
    /// Words above the plot.
    Flag {
        /// Where.
        at: f64,
        /// Which.
        words: String,
    },
    /// A point with words to its lower right.
    Point {
        /// Its colour.
        ink: Ink,
        /// Where.
        at: (f64, f64),
        /// Which.
        words: String,
    },
    /// Words that begin a little to the right.
    Name {
        /// Of what.
        at: (f64, f64),
        /// Which.
        words: String,
    },
    /// Words in the middle of an area.
    Words {
        /// Where.
        at: (f64, f64),
        /// Which.
        words: String,
    },
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
    #[must_use]
    pub fn plotted(self) -> (f64, f64) {
        let across = self.width.saturating_sub(LEFT + RIGHT);
        let down = self.height.saturating_sub(TOP + BOTTOM);
        (f64::from(across), f64::from(down))
    }
}

/// The plot as an `svg` element of class `class`, to be put into a page; `label` is what it shows, in words.
#[must_use]
pub fn svg(size: Size, class: &str, label: &str, x: &Axis, y: &Axis, shapes: &[Shape]) -> String {
    let mut drawn = String::new();
    let inks = Inks(RefCell::default());
    draw(&mut drawn, &inks, size, x, y, shapes).expect("a string takes whatever is drawn into it");
    let body = drawn.split_once('>').map_or("", |(_, body)| body);
    let mut body = body
        .replace(" opacity=\"1\"", "")
        .replace(" font-family=\"sans-serif\"", "")
        .replace(" stroke=\"none\"", "")
        .replace(" \"/>", "\"/>");
    let used = inks.0.borrow().clone();
    for ink in used {
        let RGBColor(r, g, b) = inks.stand_in(ink);
        body = body.replace(
            &format!("\"#{r:02X}{g:02X}{b:02X}\""),
            &format!("\"var(--{})\"", ink.0),
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
    inks: &Inks,
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
        color: inks.stand_in(ink).to_backend_color(),
        ..TextStyle::from(("sans-serif", TEXT * FINE).into_font())
    };
    let stroke = |ink: Ink, width: f64| ShapeStyle {
        color: inks.stand_in(ink).to_rgba(),
        filled: false,
        stroke_width: (width * f64::from(FINE)) as u32,
    };
    let mut mesh = chart.configure_mesh();
    // One grid is enough: that of the axis on which values are.
    if !y.ticks.is_empty() {
        mesh.disable_x_mesh();
    }
    mesh.axis_style(stroke(Ink::AXIS, 1.0))
        .bold_line_style(stroke(Ink::GRID, 1.0))
        .light_line_style(BLACK.mix(0.0))
        .set_all_tick_mark_size(4 * FINE)
        .label_style(words(Ink::AXIS))
        .draw()?;
    for shape in shapes {
        match shape {
            Shape::Band { ink, points } => {
                let upper = points.iter().map(|(x, _, upper)| (*x, *upper));
                let lower = points.iter().rev().map(|(x, lower, _)| (*x, *lower));
                let outline: Vec<(f64, f64)> = upper.clone().chain(lower).collect();
                chart.draw_series([Polygon::new(outline, inks.stand_in(*ink))])?;
                chart.draw_series([PathElement::new(
                    upper.collect::<Vec<_>>(),
                    stroke(Ink::PAPER, 1.0),
                )])?;
            }
            Shape::Line { ink, points } => match points.as_slice() {
                [] => {}
                [at] => {
                    chart.draw_series([Circle::new(*at, 3 * FINE, inks.stand_in(*ink).filled())])?;
                }
                [_, _, ..] => {
                    chart.draw_series(LineSeries::new(points.iter().copied(), stroke(*ink, LINE)))?;
                }
            },
            Shape::Span { ink, from, to } => {
                chart.draw_series([Rectangle::new(
                    [(*from, y.from), (*to, y.to)],
                    inks.stand_in(*ink).filled(),
                )])?;
            }
            Shape::Moment { at } => {
                chart.draw_series([PathElement::new(
                    vec![(*at, y.from), (*at, y.to)],
                    stroke(Ink::EVENT, 1.0),
                )])?;
            }
            Shape::Flag { at, words: said } => {
                let above = words(Ink::EVENT).pos(Pos::new(HPos::Center, VPos::Bottom));
                let (across, down) = chart.backend_coord(&(*at, y.to));
                root.draw(&Text::new(said.clone(), (across, down - 3 * FINE as i32), above))?;
            }
            Shape::Point { ink, at, words: said } => {
                chart.draw_series([Circle::new(*at, 3 * FINE, inks.stand_in(*ink).filled())])?;
                let beside = words(Ink::WORDS).pos(Pos::new(HPos::Left, VPos::Top));
                let (across, down) = chart.backend_coord(at);
                let away = 4 * FINE as i32;
                root.draw(&Text::new(said.clone(), (across + away, down + away), beside))?;
            }
            Shape::Name { at, words: said } => {
                let beside = words(Ink::WORDS).pos(Pos::new(HPos::Left, VPos::Center));
                let (across, down) = chart.backend_coord(at);
                root.draw(&Text::new(said.clone(), (across + 6 * FINE as i32, down), beside))?;
            }
            Shape::Words { at, words: said } => {
                let amid = words(Ink::WORDS).pos(Pos::new(HPos::Center, VPos::Center));
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
