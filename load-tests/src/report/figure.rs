//! A figure of the report: its words, its plot in the sizes a page needs, and its numbers as a table.

use tessera::picture::{Axis, Ink, Shape, Size, svg};

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
    pub ink: &'static str,
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
        svg(size, class, label, &x, &y, &shapes)
    });
    Plot::Drawn(svgs.collect())
}

/// A key of a legend.
pub fn key(ink: Ink, look: Look, name: impl Into<String>) -> Key {
    Key {
        ink: ink.0,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_both_ends() {
        let all: Vec<u32> = (0..1000).collect();
        let few = thinned(&all, 5);
        assert_eq!((few.len(), few[0], few[4]), (5, &0, &999));
        assert_eq!(thinned(&all[..3], 5), [&0, &1, &2]);
        assert!(thinned::<u32>(&[], 5).is_empty());
    }
}
