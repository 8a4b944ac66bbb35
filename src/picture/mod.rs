//! Pictures of numbers over time, as SVG that takes its colours from the page: for the console, and for the report of the
//! load tests. Pure: numbers in, text out.

mod axis;
mod draw;
mod number;

pub use axis::{from_zero, logarithmic, on_logarithmic, time};
pub use draw::{Axis, Ink, Shape, Size, svg};
pub use number::{apart, figure};
