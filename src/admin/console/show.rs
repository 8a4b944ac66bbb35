//! How times, sizes, counts and states are written. Everything here is text or markup of its own making.

use std::fmt;
use std::time::Duration;

use crate::admin::shapes;
use crate::control::Progress;
use crate::fleet::{Change, Direction};

/// A time: how long ago or how far off, in words. The page shows the exact one beside it.
#[derive(Debug, Clone, Copy)]
pub struct Time {
    /// When, in milliseconds of Unix time.
    pub unix_ms: i64,
    /// When it is looked at.
    pub now_ms: i64,
}

impl Time {
    /// As RFC 3339, in UTC.
    pub fn exact(&self) -> String {
        shapes::time(self.unix_ms)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let away_s = (self.now_ms - self.unix_ms) / 1000;
        // What is still to come is rounded: of what was said to last seven days, a second later all but one are left.
        let of = |s: u64, unit: u64| {
            if away_s < 0 {
                (s + unit / 2) / unit
            } else {
                s / unit
            }
        };
        let (amount, unit) = match away_s.unsigned_abs() {
            0..10 => return f.write_str("just now"),
            s @ 10..60 => (s, "s"),
            s @ 60..3600 => (of(s, 60), "min"),
            s @ 3600..172_800 => (of(s, 3600), "h"),
            s @ 172_800..63_115_200 => (of(s, 86_400), "days"),
            // Of 365.25 days.
            s => (of(s, 31_557_600), "years"),
        };
        if away_s < 0 {
            write!(f, "in {amount} {unit}")
        } else {
            write!(f, "{amount} {unit} ago")
        }
    }
}

/// A span of time, in its two largest units.
#[derive(Debug, Clone, Copy)]
pub struct Span(pub Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = self.0.as_secs();
        let (large, small) = match s {
            0..60 => ((s, "s"), (0, "")),
            60..3600 => ((s / 60, "min"), (s % 60, "s")),
            3600..86_400 => ((s / 3600, "h"), (s % 3600 / 60, "min")),
            _ => ((s / 86_400, "d"), (s % 86_400 / 3600, "h")),
        };
        write!(f, "{} {}", large.0, large.1)?;
        match small {
            (0, _) => Ok(()),
            (amount, unit) => write!(f, " {amount} {unit}"),
        }
    }
}

/// Bytes, in the units of 1024 that devices' memories are measured in.
#[derive(Debug, Clone, Copy)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let mut shown = self.0 as f64 / 1024.0;
        let mut unit = 0;
        while shown >= 1023.95 && unit + 1 < UNITS.len() {
            shown /= 1024.0;
            unit += 1;
        }
        write!(f, "{shown:.1} {}", UNITS[unit])
    }
}

/// A count, in groups of three.
#[derive(Debug, Clone, Copy)]
pub struct Count(pub u64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (place, digit) in digits.chars().enumerate() {
            if place > 0 && (digits.len() - place).is_multiple_of(3) {
                // A thin space that does not break: no country reads it as a decimal point.
                f.write_str("\u{202f}")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

/// A count with what is counted: `1 device`, `2 devices`.
pub fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", Count(count), if count == 1 { one } else { many })
}

/// A text that a device or a stranger wrote, with what could not be seen made visible: control characters as their pictures,
/// and what would turn around or hide what is read after it by its number.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\0'..='\u{1f}' => shown.extend(char::from_u32(0x2400 + u32::from(character))),
            '\u{7f}' => shown.push('\u{2421}'),
            '\u{80}'..='\u{9f}'
            | '\u{ad}'
            | '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{e0000}'..='\u{e0fff}' => shown.push_str(&format!("⟨U+{:04X}⟩", u32::from(character))),
            plain => shown.push(plain),
        }
    }
    shown
}

/// A part of a text that has commands in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Whether it stood between backticks: something to be typed.
    pub is_code: bool,
    /// Without them.
    pub text: String,
}

/// The parts of a text with commands between backticks, as messages for terminals have them.
pub fn pieces(text: &str) -> Vec<Piece> {
    let pieces = text.split('`').enumerate().map(|(place, text)| Piece {
        is_code: place % 2 == 1,
        text: text.to_owned(),
    });
    pieces.filter(|piece| !piece.text.is_empty()).collect()
}

/// A name of the API as words: `deviceDisabled` is `Device disabled`.
pub fn words(name: &str) -> String {
    let mut words = String::with_capacity(name.len() + 4);
    for (place, letter) in name.chars().enumerate() {
        match letter {
            first if place == 0 => words.extend(first.to_uppercase()),
            next if next.is_uppercase() => {
                words.push(' ');
                words.extend(next.to_lowercase());
            }
            other => words.push(other),
        }
    }
    words
}

/// A share of a whole in percent: 100 only when it is all, 0 only when it is nothing.
pub fn percent(part: u64, whole: u64) -> u64 {
    match (part, whole) {
        (0, _) | (_, 0) => 0,
        (part, whole) if part >= whole => 100,
        (part, whole) => (part * 100 / whole).clamp(1, 99),
    }
}

/// Where the devices of a deployment are: a state is an icon, a word and a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// The word, as the API has it; also the class that has the colour, and the icon's name.
    pub state: &'static str,
    /// Devices in it.
    pub devices: u64,
}

/// The seven states of a deployment's devices, in the order in which a device goes through them.
pub fn shares(progress: &Progress) -> [Share; 7] {
    let share = |state, devices| Share { state, devices };
    [
        share("pending", progress.pending),
        share("notified", progress.notified),
        share("downloading", progress.downloading),
        share("downloaded", progress.downloaded),
        share("updating", progress.updating),
        share("done", progress.done),
        share("failed", progress.failed),
    ]
}

/// A bar of shares: done first, so that what is reached grows from the left; failed last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bar {
    /// The parts that are not empty, each with where it begins and how wide it is, in thousandths.
    pub parts: Vec<BarPart>,
    /// The same in words.
    pub label: String,
}

/// A part of a [`Bar`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BarPart {
    /// The state.
    pub state: &'static str,
    /// Where it begins, in thousandths of the bar.
    pub from: u64,
    /// How wide it is, in thousandths of the bar.
    pub width: u64,
}

impl Bar {
    /// The bar of a deployment.
    pub fn of(progress: &Progress) -> Bar {
        let [pending, notified, downloading, downloaded, updating, done, failed] = shares(progress);
        let order = [done, updating, downloaded, downloading, notified, pending, failed];
        let whole: u64 = order.iter().map(|share| share.devices).sum();
        let mut before = 0;
        let mut parts = Vec::new();
        let mut words = Vec::new();
        for share in order.into_iter().filter(|share| share.devices > 0) {
            let from = before * 1000 / whole;
            before += share.devices;
            let to = before * 1000 / whole;
            parts.push(BarPart {
                state: share.state,
                from,
                // One device of a million is still seen.
                width: (to - from).max(4),
            });
            words.push(format!("{} {}", Count(share.devices), share.state));
        }
        let label = if words.is_empty() {
            "no devices".to_owned()
        } else {
            words.join(", ")
        };
        Bar { parts, label }
    }
}

/// What happened to a package, against the deployment before: the glyph, and the word that is also its class.
pub fn glyph(change: Change) -> (&'static str, &'static str) {
    match change {
        Change::Added => ("+", "added"),
        Change::Changed(Direction::Upgrade) => ("↑", "upgrade"),
        Change::Changed(Direction::Downgrade) => ("↓", "downgrade"),
        Change::Unchanged => ("–", "unchanged"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Bar, Bytes, Count, Span, Time, counted, percent, pieces, visible, words};
    use crate::control::Progress;

    #[test]
    fn a_name_of_the_api_is_shown_as_words_and_a_command_without_its_backticks() {
        for (name, shown) in [
            ("deviceDisabled", "Device disabled"),
            ("malformed", "Malformed"),
            ("certificateNotForClients", "Certificate not for clients"),
            ("", ""),
        ] {
            assert_eq!(words(name), shown);
        }
        let text = "lamp-1 is disabled; `tessera device enable lamp-1` lets it in (`x`)";
        let pieces = pieces(text);
        let shown: Vec<_> = pieces
            .iter()
            .map(|piece| (piece.is_code, piece.text.as_str()))
            .collect();
        assert_eq!(
            shown,
            [
                (false, "lamp-1 is disabled; "),
                (true, "tessera device enable lamp-1"),
                (false, " lets it in ("),
                (true, "x"),
                (false, ")"),
            ]
        );
    }

    #[test]
    fn times_are_told_by_how_far_they_are_away() {
        let now_ms = 1_000_000_000;
        for (away_s, shown) in [
            (0, "just now"),
            (9, "just now"),
            (10, "10 s ago"),
            (119, "1 min ago"),
            (3599, "59 min ago"),
            (3600, "1 h ago"),
            (172_799, "47 h ago"),
            (172_800, "2 days ago"),
            (63_115_199, "730 days ago"),
            (-63_115_200, "in 2 years"),
            (-89, "in 1 min"),
            (-604_799, "in 7 days"),
            (-3650 * 86_400, "in 10 years"),
        ] {
            let unix_ms = now_ms - away_s * 1000;
            assert_eq!(Time { unix_ms, now_ms }.to_string(), shown);
        }
    }

    #[test]
    fn a_span_is_told_in_its_two_largest_units() {
        for (seconds, shown) in [
            (1, "1 s"),
            (60, "1 min"),
            (119, "1 min 59 s"),
            (3660, "1 h 1 min"),
            (90_000, "1 d 1 h"),
        ] {
            assert_eq!(Span(Duration::from_secs(seconds)).to_string(), shown);
        }
    }

    #[test]
    fn sizes_and_counts_are_read_at_a_glance() {
        assert_eq!(Bytes(1023).to_string(), "1023 B");
        assert_eq!(Bytes(1024).to_string(), "1.0 KiB");
        assert_eq!(Bytes(1024 * 1024 - 1).to_string(), "1.0 MiB");
        assert_eq!(Bytes(u64::MAX).to_string(), "16384.0 PiB");
        assert_eq!(Count(999).to_string(), "999");
        assert_eq!(Count(1_000_000).to_string(), "1\u{202f}000\u{202f}000");
        assert_eq!(counted(1, "device", "devices"), "1 device");
        assert_eq!(counted(0, "device", "devices"), "0 devices");
    }

    #[test]
    fn what_cannot_be_seen_is_made_visible_and_everything_else_stays() {
        for (text, shown) in [
            ("lamp-1, 💡 “ärger” مصباح", "lamp-1, 💡 “ärger” مصباح"),
            ("a\u{1b}[2J\r\nb\0\t\u{7f}", "a␛[2J␍␊b␀␉␡"),
            (
                "x\u{202e}fdp.exe\u{2066}\u{200b}\u{feff}\u{9b}",
                "x⟨U+202E⟩fdp.exe⟨U+2066⟩⟨U+200B⟩⟨U+FEFF⟩⟨U+009B⟩",
            ),
        ] {
            assert_eq!(visible(text), shown);
        }
    }

    #[test]
    fn all_is_100_percent_and_nothing_else_is() {
        assert_eq!(percent(999_999, 1_000_000), 99);
        assert_eq!(percent(1, 1_000_000), 1);
        assert_eq!((percent(3, 3), percent(0, 3), percent(0, 0)), (100, 0, 0));
    }

    #[test]
    fn the_parts_of_a_bar_touch_and_the_smallest_is_seen() {
        let progress = Progress {
            done: 600_000,
            downloading: 399_999,
            failed: 1,
            ..Progress::default()
        };
        let bar = Bar::of(&progress);
        let parts: Vec<_> = bar
            .parts
            .iter()
            .map(|part| (part.state, part.from, part.width))
            .collect();
        assert_eq!(
            parts,
            [("done", 0, 600), ("downloading", 600, 399), ("failed", 999, 4)]
        );
        assert!(bar.label.ends_with("1 failed"), "{}", bar.label);
        assert!(Bar::of(&Progress::default()).parts.is_empty());
    }
}
