//! How a value is read, and how it is shown. A reader answers what it accepts, to follow "expected".

use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::time::Duration;

use tessera::fleet::{CohortName, PackageName, Version};
use tessera::virtual_device::Szx;

use super::ImageName;
use super::raw::RawValue;

/// What was read, or what would have been accepted.
pub type Read<T> = Result<T, String>;

/// A duration within a range, as a text with a unit.
pub fn span(range: RangeInclusive<Duration>) -> impl Fn(&RawValue) -> Read<Duration> {
    move |said| {
        let nanos = said.text().and_then(|text| with_unit(text, SPANS));
        let span = nanos.map(Duration::from_nanos);
        span.filter(|span| range.contains(span)).ok_or_else(|| {
            let (least, most) = (show_span(*range.start()), show_span(*range.end()));
            format!("a duration like \"250 ms\" or \"5 min\" (us, ms, s, min, h), from {least} to {most}")
        })
    }
}

/// A number of bytes within a range, as a number or as a text with a unit.
pub fn size(range: RangeInclusive<u64>) -> impl Fn(&RawValue) -> Read<u64> {
    move |said| {
        let bytes = match said {
            RawValue::Integer(bytes) => u64::try_from(*bytes).ok(),
            said => said.text().and_then(|text| with_unit(text, SIZES)),
        };
        bytes.filter(|bytes| range.contains(bytes)).ok_or_else(|| {
            let (least, most) = (show_size(*range.start()), show_size(*range.end()));
            format!("a size like \"64 KiB\" (B, KiB, MiB, GiB), from {least} to {most}")
        })
    }
}

/// Bits a second, as a text with a unit; `None` for `unlimited`.
pub fn rate(said: &RawValue) -> Read<Option<u64>> {
    match said.text() {
        Some("unlimited") => Ok(None),
        other => other
            .and_then(|text| with_unit(text, RATES))
            .filter(|bits| RATE.contains(bits))
            .map(Some)
            .ok_or_else(|| {
                format!(
                    "a rate like \"27 kbit/s\" (bit/s, kbit/s, Mbit/s, Gbit/s), from {} to {}, or \"unlimited\"",
                    show_rate(*RATE.start()),
                    show_rate(*RATE.end())
                )
            }),
    }
}

/// A share, as a number or in per cent; `accepted` says which.
pub fn share(accepted: fn(f64) -> bool, which: &'static str) -> impl Fn(&RawValue) -> Read<f64> {
    move |said| {
        let share = match said {
            RawValue::Text(text) => text
                .strip_suffix('%')
                .and_then(|number| number.trim_end().parse::<f64>().ok())
                .map(|per_cent| per_cent / 100.0),
            said => number(said),
        };
        share
            .filter(|share| accepted(*share))
            .ok_or_else(|| format!("a share like 0.3 or \"30 %\", {which}"))
    }
}

/// A number within a range, with or without a fraction.
pub fn fraction(range: RangeInclusive<f64>) -> impl Fn(&RawValue) -> Read<f64> {
    move |said| {
        number(said)
            .filter(|number| range.contains(number))
            .ok_or_else(|| format!("a number from {} to {}", range.start(), range.end()))
    }
}

/// A whole number within a range.
pub fn whole(range: RangeInclusive<u64>) -> impl Fn(&RawValue) -> Read<u64> {
    move |said| {
        let number = if let RawValue::Integer(number) = said {
            u64::try_from(*number).ok()
        } else {
            None
        };
        number
            .filter(|number| range.contains(number))
            .ok_or_else(|| format!("a whole number from {} to {}", range.start(), range.end()))
    }
}

/// One of a few words.
pub fn choice<T: Copy>(words: &'static [(&'static str, T)]) -> impl Fn(&RawValue) -> Read<T> {
    move |said| {
        let said = said.text().unwrap_or_default();
        let found = words.iter().find(|(word, _)| *word == said);
        found.map(|(_, choice)| *choice).ok_or_else(|| {
            let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            one_of(said, &names)
        })
    }
}

/// True or false.
pub fn truth(said: &RawValue) -> Read<bool> {
    if let RawValue::Truth(truth) = said {
        Ok(*truth)
    } else {
        Err("true or false".to_owned())
    }
}

/// The size of a block.
pub fn block_size(said: &RawValue) -> Read<Szx> {
    let bytes = size(0..=u64::MAX)(said).ok();
    bytes
        .and_then(Szx::from_size)
        .ok_or_else(|| "16, 32, 64, 128, 256, 512 or 1024".to_owned())
}

/// A word that names scenarios and kinds of devices.
pub fn word(said: &RawValue) -> Read<String> {
    let good = |text: &&str| {
        (1..=WORD_MAX).contains(&text.len())
            && text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    said.text()
        .filter(good)
        .map(str::to_owned)
        .ok_or_else(|| format!("1 to {WORD_MAX} of a-z 0-9 -, starting with a letter or digit"))
}

/// Any text.
pub fn any_text(said: &RawValue) -> Read<String> {
    said.text()
        .map(str::to_owned)
        .ok_or_else(|| "a text, like \"this one\"".to_owned())
}

/// The name of a cohort, as the gateway takes it.
pub fn cohort_name(said: &RawValue) -> Read<String> {
    said.text()
        .filter(|text| CohortName::parse(text).is_ok())
        .map(str::to_owned)
        .ok_or_else(|| CohortName::ACCEPTED.to_owned())
}

/// `package@version`, as the gateway takes both.
pub fn image_name(said: &RawValue) -> Read<ImageName> {
    said.text().and_then(parse_image_name).ok_or_else(|| {
        format!(
            "a package and a version like \"main@1.1.0\", each {}",
            Version::ACCEPTED
        )
    })
}

/// The same, of a text.
pub fn parse_image_name(text: &str) -> Option<ImageName> {
    let (package, version) = text.split_once('@')?;
    let good = PackageName::parse(package).is_ok() && Version::parse(version).is_ok();
    good.then(|| ImageName {
        package: package.to_owned(),
        version: version.to_owned(),
    })
}

/// What would have been accepted where one of these words was, and which one was likely meant.
pub fn one_of(said: &str, words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    let accepted = match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.concat(),
    };
    match nearest(said, words) {
        Some(word) => format!("{accepted} (did you mean {word:?}?)"),
        None => accepted,
    }
}

/// The word that was likely meant.
pub fn nearest<'w>(said: &str, words: &[&'w str]) -> Option<&'w str> {
    let near = |word: &&'w str| (strsim::jaro(said, word), *word);
    words
        .iter()
        .map(near)
        .filter(|(likeness, _)| *likeness > LIKENESS)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, word)| word)
}

/// A duration in the largest unit in which it is short.
pub fn show_span(span: Duration) -> String {
    if span == Duration::ZERO {
        return "0 s".to_owned();
    }
    let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    show_with_unit(nanos, SPANS)
}

/// A size in the largest unit in which it is short.
pub fn show_size(bytes: u64) -> String {
    show_with_unit(bytes, SIZES)
}

/// A rate in the largest unit in which it is short.
pub fn show_rate(bits: u64) -> String {
    show_with_unit(bits, RATES)
}

/// A share in per cent.
pub fn show_share(share: f64) -> String {
    // Rounded to what anybody would write: 0.07 is 7.000000000000001 %.
    let per_cent = (share * 1e8).round() / 1e6;
    format!("{per_cent} %")
}

/// Names, one after another.
pub fn show_images(images: &[ImageName]) -> String {
    let mut shown = String::new();
    for image in images {
        let gap = if shown.is_empty() { "" } else { ", " };
        let _ = write!(shown, "{gap}{image}");
    }
    shown
}

fn number(said: &RawValue) -> Option<f64> {
    match said {
        RawValue::Float(number) => Some(*number),
        RawValue::Integer(number) => Some(*number as f64),
        RawValue::Text(_)
        | RawValue::Truth(_)
        | RawValue::List(_)
        | RawValue::Table(_)
        | RawValue::Other(_) => None,
    }
}

/// In the largest unit that holds it whole, or with at most three digits after the point.
fn show_with_unit(amount: u64, units: &[(&str, u64)]) -> String {
    let whole = |factor: u64| amount.is_multiple_of(factor) || (amount * 1000).is_multiple_of(factor);
    let fits = |(_, factor): &&(&str, u64)| {
        *factor <= amount && amount.checked_mul(1000).is_some() && whole(*factor)
    };
    let (unit, factor) = units.iter().rev().find(fits).unwrap_or(&units[0]);
    if amount.is_multiple_of(*factor) {
        format!("{} {unit}", amount / factor)
    } else {
        format!("{} {unit}", amount as f64 / *factor as f64)
    }
}

/// `1.5 s`, in the smallest unit; at most nine digits after the point.
fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let number = text
        .find(|character: char| !character.is_ascii_digit() && character != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(number);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    let (whole, digits) = number.split_once('.').unwrap_or((number, "0"));
    if digits.is_empty() || digits.len() > 9 {
        return None;
    }
    let scale = 10u128.pow(digits.len() as u32);
    let digits: u128 = digits.parse().ok()?;
    let parts = u128::from(whole.parse::<u64>().ok()?) * scale + digits;
    let amount = parts * u128::from(*factor);
    // A fraction of the smallest unit is no amount of it.
    amount
        .is_multiple_of(scale)
        .then(|| u64::try_from(amount / scale).ok())?
}

/// A device's name is this, a dash and up to seven digits, and its identity `-id@default` more: 64 bytes hold that.
const WORD_MAX: usize = 40;
/// The largest seed: as far as TOML can count.
pub const SEED_MAX: u64 = i64::MAX.cast_unsigned();

/// A guess: below this likeness a suggestion is a riddle.
const LIKENESS: f64 = 0.75;

/// One datagram takes minutes at the lower end, and the upper is beyond any device.
const RATE: RangeInclusive<u64> = 100..=10_000_000_000;

const SPANS: &[(&str, u64)] = &[
    ("us", 1000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("min", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

const SIZES: &[(&str, u64)] = &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

const RATES: &[(&str, u64)] = &[
    ("bit/s", 1),
    ("kbit/s", 1000),
    ("Mbit/s", 1_000_000),
    ("Gbit/s", 1_000_000_000),
];
