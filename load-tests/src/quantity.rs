//! Numbers for people: three significant digits, thousands apart, and a unit.

use tessera::picture::apart;
pub use tessera::picture::figure;

/// What a number counts, so that it can be put in the unit that suits its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// Things: devices, datagrams.
    Count,
    /// A duration in microseconds.
    Micros,
    /// A duration in seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// Whatever its name says.
    Plain,
    /// The same, to the last digit where it is whole.
    Whole,
}

/// A unit for all numbers of one column or axis: a number times `factor` is in `name`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unit {
    /// What a number is multiplied by.
    pub factor: f64,
    /// Its sign; empty for counts.
    pub name: &'static str,
}

impl Quantity {
    /// By the name of a count or a figure: `cpu_s` is in seconds, `memory_bytes_max` in bytes.
    pub fn of_name(name: &str) -> Quantity {
        if name.split('_').any(|word| word == "bytes") {
            Quantity::Bytes
        } else if name.ends_with("_us") {
            Quantity::Micros
        } else if name.ends_with("_s") && !name.ends_with("per_s") {
            Quantity::Seconds
        } else {
            Quantity::Plain
        }
    }

    /// The unit in which numbers up to `largest` are best read.
    pub fn unit(self, largest: f64) -> Unit {
        let units: &[(f64, f64, &'static str)] = match self {
            Quantity::Count | Quantity::Plain | Quantity::Whole => &[(0.0, 1.0, "")],
            Quantity::Micros => &[(1e6, 1e-6, "s"), (1e3, 1e-3, "ms"), (0.0, 1.0, "µs")],
            Quantity::Seconds => &[
                (1.0, 1.0, "s"),
                (1e-3, 1e3, "ms"),
                (f64::MIN_POSITIVE, 1e6, "µs"),
                (0.0, 1.0, "s"),
            ],
            Quantity::Bytes => &[
                (1024.0 * GIB, 1.0 / (1024.0 * GIB), "TiB"),
                (GIB, 1.0 / GIB, "GiB"),
                (MIB, 1.0 / MIB, "MiB"),
                (KIB, 1.0 / KIB, "KiB"),
                (0.0, 1.0, "B"),
            ],
        };
        let (_, factor, name) = units
            .iter()
            .find(|(from, ..)| largest.abs() >= *from)
            .copied()
            .unwrap_or((0.0, 1.0, ""));
        Unit { factor, name }
    }

    /// The number with its unit: `12.3 ms`.
    pub fn in_words(self, number: f64) -> String {
        match self {
            Quantity::Count => count_of(number),
            Quantity::Whole if number.fract() == 0.0 => count_of(number),
            Quantity::Seconds if number.is_finite() && number.abs() >= 120.0 => duration(number),
            Quantity::Micros if number.is_finite() && number.abs() >= 120e6 => duration(number / 1e6),
            Quantity::Plain | Quantity::Whole | Quantity::Micros | Quantity::Seconds | Quantity::Bytes => {
                self.with_unit(number)
            }
        }
    }

    /// The same, and never in minutes: `200 s`.
    pub fn with_unit(self, number: f64) -> String {
        let unit = self.unit(number);
        let figure = figure(number * unit.factor);
        if unit.name.is_empty() || !number.is_finite() {
            figure
        } else {
            format!("{figure} {}", unit.name)
        }
    }
}

/// A count, to the last one: `1,234,567`.
pub fn count(number: u64) -> String {
    apart(&number.to_string())
}

/// The name of a count or a figure, without what [`Quantity::of_name`] takes its unit from: `cpu`, `memory max`.
pub fn name(name: &str) -> String {
    let unit = match Quantity::of_name(name) {
        Quantity::Bytes => "bytes",
        Quantity::Micros => "us",
        Quantity::Seconds => "s",
        Quantity::Count | Quantity::Plain | Quantity::Whole => "",
    };
    let words: Vec<&str> = name.split('_').filter(|word| *word != unit).collect();
    if words.is_empty() {
        name.replace('_', " ")
    } else {
        words.join(" ")
    }
}

/// Seconds as minutes and hours: `2 min 03 s`.
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() {
        return "–".to_owned();
    }
    if seconds.abs() < 120.0 {
        return Quantity::Seconds.in_words(seconds);
    }
    let sign = if seconds < 0.0 { "−" } else { "" };
    // A run of more seconds than a u64 holds is none; the cast saturates.
    let whole = seconds.abs().round() as u64;
    let (hours, minutes, rest) = (whole / 3600, whole / 60 % 60, whole % 60);
    if hours >= 1 {
        format!("{sign}{} h {minutes:02} min", count(hours))
    } else {
        format!("{sign}{minutes} min {rest:02} s")
    }
}

fn count_of(number: f64) -> String {
    if number.is_finite() && number >= 0.0 && number < u64::MAX as f64 {
        count(number.round() as u64)
    } else {
        figure(number)
    }
}

const KIB: f64 = 1024.0;
const MIB: f64 = 1024.0 * KIB;
const GIB: f64 = 1024.0 * MIB;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantity_is_put_in_the_unit_that_suits_its_size() {
        let rows: [(Quantity, f64, &str); 16] = [
            (Quantity::Count, 1_234_567.0, "1,234,567"),
            (Quantity::Micros, 0.0, "0 µs"),
            (Quantity::Micros, 999.0, "999 µs"),
            (Quantity::Micros, 12_345.0, "12.3 ms"),
            (Quantity::Micros, 1_500_000.0, "1.5 s"),
            (Quantity::Micros, 123_000_000.0, "2 min 03 s"),
            (Quantity::Seconds, 0.012, "12 ms"),
            (Quantity::Seconds, 83.4, "83.4 s"),
            (Quantity::Seconds, 7_384.0, "2 h 03 min"),
            (Quantity::Bytes, 812.0, "812 B"),
            (Quantity::Bytes, 10_485_760.0, "10 MiB"),
            (Quantity::Bytes, 1.5e12, "1.36 TiB"),
            (Quantity::Plain, 0.25, "0.25"),
            (Quantity::Whole, 0.25, "0.25"),
            (Quantity::Whole, 12_345.0, "12,345"),
            (Quantity::Seconds, f64::NAN, "–"),
        ];
        for (quantity, number, words) in rows {
            assert_eq!(quantity.in_words(number), words, "{quantity:?} {number}");
        }
    }

    #[test]
    fn a_name_says_its_quantity() {
        assert_eq!(Quantity::of_name("cpu_s"), Quantity::Seconds);
        assert_eq!(Quantity::of_name("memory_bytes_max"), Quantity::Bytes);
        assert_eq!(Quantity::of_name("datagrams_per_s"), Quantity::Plain);
        assert_eq!(Quantity::of_name("retransmissions"), Quantity::Plain);
        assert_eq!(name("cpu_s"), "cpu");
        assert_eq!(name("memory_bytes_max"), "memory max");
        assert_eq!(name("bytes"), "bytes");
        assert_eq!(name("lost_up"), "lost up");
    }
}
