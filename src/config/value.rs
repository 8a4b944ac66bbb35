//! How a value is read, and how it is shown.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroize;

use super::raw::RawValue;

/// A field that a key sets.
pub trait Value {
    /// Takes what was said, or answers what would be accepted and leaves the field alone.
    ///
    /// # Errors
    ///
    /// What the key accepts, to follow "expected".
    fn set(&mut self, said: &RawValue) -> Result<(), String>;

    /// The value as TOML, secrets masked; `None` where it is not set.
    fn show(&self) -> Option<String>;

    /// Whether the value must never be printed, and may also come from a file named by `<key>_file`.
    fn is_secret(&self) -> bool {
        false
    }
}

/// A secret from the configuration; never shown, wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(secret: String) -> Self {
        Self(secret)
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// What stands where a secret would be.
pub const MASK: &str = "********";

/// A path to a folder.
pub struct Folder<'f>(pub &'f mut PathBuf);

impl Value for Folder<'_> {
    fn set(&mut self, said: &RawValue) -> Result<(), String> {
        let path = said
            .text()
            .filter(|text| !text.is_empty())
            .ok_or("a path to a folder")?;
        *self.0 = PathBuf::from(path);
        Ok(())
    }

    fn show(&self) -> Option<String> {
        Some(quoted(&self.0.to_string_lossy()))
    }
}

/// A path to a file, or nothing.
pub struct ReadableFile<'f>(pub &'f mut Option<PathBuf>);

impl Value for ReadableFile<'_> {
    fn set(&mut self, said: &RawValue) -> Result<(), String> {
        let path = said.text().ok_or("a path to a file, or \"\" for none")?;
        *self.0 = Some(path).filter(|path| !path.is_empty()).map(PathBuf::from);
        Ok(())
    }

    fn show(&self) -> Option<String> {
        self.0.as_ref().map(|path| quoted(&path.to_string_lossy()))
    }
}

impl Value for &mut bool {
    fn set(&mut self, said: &RawValue) -> Result<(), String> {
        **self = said.truth().ok_or("true or false")?;
        Ok(())
    }

    fn show(&self) -> Option<String> {
        Some(self.to_string())
    }
}

/// Which log lines are written: levels and `module=level`, separated by commas. Everything accepted here is a filter
/// to the logging library too, which takes much more: to it, a level with a typo is the name of a module.
pub struct LogFilter<'f>(pub &'f mut String);

impl Value for LogFilter<'_> {
    fn set(&mut self, said: &RawValue) -> Result<(), String> {
        let accepted = || {
            let levels = LEVELS.join(", ");
            format!("a level ({levels}), or levels by module like \"info,tessera::dtls=debug\"")
        };
        let parts: Vec<&str> = said
            .text()
            .ok_or_else(accepted)?
            .split(',')
            .map(str::trim)
            .collect();
        let understood = parts.iter().all(|part| match part.split_once('=') {
            None => is_level(part),
            Some((module, level)) => is_module(module) && is_level(level),
        });
        if !understood {
            return Err(accepted());
        }
        *self.0 = parts.join(",");
        Ok(())
    }

    fn show(&self) -> Option<String> {
        Some(quoted(self.0))
    }
}

/// A secret of visible ASCII characters, so many of them.
pub struct SecretText<'f>(pub &'f mut Option<Secret>, pub RangeInclusive<usize>);

impl Value for SecretText<'_> {
    fn set(&mut self, said: &RawValue) -> Result<(), String> {
        let text = said
            .text()
            .filter(|text| self.1.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()))
            .ok_or_else(|| {
                format!(
                    "{} to {} visible ASCII characters without spaces",
                    self.1.start(),
                    self.1.end()
                )
            })?;
        *self.0 = Some(Secret::new(text.to_owned()));
        Ok(())
    }

    fn show(&self) -> Option<String> {
        self.0.as_ref().map(|_| quoted(MASK))
    }

    fn is_secret(&self) -> bool {
        true
    }
}

impl Value for &mut SocketAddr {
    fn set(&mut self, said: &RawValue) -> Result<(), String> {
        **self = said.text().and_then(|text| text.parse().ok()).ok_or(ADDRESS)?;
        Ok(())
    }

    fn show(&self) -> Option<String> {
        Some(quoted(&self.to_string()))
    }
}

impl Value for &mut Vec<SocketAddr> {
    fn set(&mut self, said: &RawValue) -> Result<(), String> {
        let accepted = || format!("a list, each {ADDRESS}");
        let texts = said.texts().ok_or_else(accepted)?;
        let addresses: Option<Vec<SocketAddr>> = texts.iter().map(|text| text.parse().ok()).collect();
        **self = addresses
            .filter(|addresses| addresses.len() <= MAX_LISTENERS)
            .ok_or_else(accepted)?;
        Ok(())
    }

    fn show(&self) -> Option<String> {
        let shown: Vec<String> = self.iter().map(|address| quoted(&address.to_string())).collect();
        Some(format!("[{}]", shown.join(", ")))
    }
}

/// A number within a range.
pub struct Count<'f>(pub &'f mut usize, pub RangeInclusive<usize>);

impl Value for Count<'_> {
    fn set(&mut self, said: &RawValue) -> Result<(), String> {
        let number = said.integer().and_then(|number| usize::try_from(number).ok());
        *self.0 = number
            .filter(|number| self.1.contains(number))
            .ok_or_else(|| format!("a whole number from {} to {}", self.1.start(), self.1.end()))?;
        Ok(())
    }

    fn show(&self) -> Option<String> {
        Some(self.0.to_string())
    }
}

impl Value for &mut Option<NonZeroUsize> {
    fn set(&mut self, said: &RawValue) -> Result<(), String> {
        let number = said.integer().and_then(|number| usize::try_from(number).ok());
        // There are 256 virtual shards, mapped to threads.
        let shards = number.filter(|number| *number <= 256);
        **self = NonZeroUsize::new(shards.ok_or("a whole number from 1 to 256, or 0 for one per core")?);
        Ok(())
    }

    fn show(&self) -> Option<String> {
        Some(self.map_or(0, NonZeroUsize::get).to_string())
    }
}

/// A number of bytes within a range: `1048576`, or a text with KiB, MiB or GiB.
pub struct Size<'f>(pub &'f mut u64, pub RangeInclusive<u64>);

impl Value for Size<'_> {
    fn set(&mut self, said: &RawValue) -> Result<(), String> {
        let bytes = match said.integer() {
            Some(bytes) => u64::try_from(bytes).ok(),
            None => said.text().and_then(|text| with_unit(text, SIZES)),
        };
        *self.0 = bytes.filter(|bytes| self.1.contains(bytes)).ok_or_else(|| {
            let (least, most) = (show_size(*self.1.start()), show_size(*self.1.end()));
            format!("a number of bytes or a text like \"64MiB\", from {least} to {most}")
        })?;
        Ok(())
    }

    fn show(&self) -> Option<String> {
        Some(quoted(&show_size(*self.0)))
    }
}

/// A duration within a range, as a text with ms, s, m, h or d.
pub struct Span<'f>(pub &'f mut Duration, pub RangeInclusive<Duration>);

impl Value for Span<'_> {
    fn set(&mut self, said: &RawValue) -> Result<(), String> {
        let span = said
            .text()
            .and_then(|text| with_unit(text, SPANS))
            .map(Duration::from_millis);
        *self.0 = span.filter(|span| self.1.contains(span)).ok_or_else(|| {
            let (least, most) = (show_span(*self.1.start()), show_span(*self.1.end()));
            format!("a duration like \"90s\" or \"12h\" (ms, s, m, h, d), from {least} to {most}")
        })?;
        Ok(())
    }

    fn show(&self) -> Option<String> {
        Some(quoted(&show_span(*self.0)))
    }
}

/// One of a few words.
pub struct Choice<'f, T: 'static>(pub &'f mut T, pub &'static [(&'static str, T)]);

impl<T: Copy + PartialEq> Value for Choice<'_, T> {
    fn set(&mut self, said: &RawValue) -> Result<(), String> {
        let word = said.text().unwrap_or_default();
        let (_, choice) = self.1.iter().find(|(name, _)| *name == word).ok_or_else(|| {
            let names: Vec<String> = self.1.iter().map(|(name, _)| quoted(name)).collect();
            names.join(" or ")
        })?;
        *self.0 = *choice;
        Ok(())
    }

    fn show(&self) -> Option<String> {
        self.1
            .iter()
            .find(|(_, choice)| choice == self.0)
            .map(|(name, _)| quoted(name))
    }
}

fn is_level(word: &str) -> bool {
    LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word))
}

fn is_module(path: &str) -> bool {
    path.split("::").all(|name| {
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    })
}

/// A duration in the largest unit that holds it whole.
pub fn show_span(span: Duration) -> String {
    let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    show_with_unit(millis, SPANS)
}

fn show_size(bytes: u64) -> String {
    show_with_unit(bytes, SIZES)
}

fn show_with_unit(amount: u64, units: &[(&str, u64)]) -> String {
    let (unit, factor) = units
        .iter()
        .rev()
        .find(|(_, factor)| amount > 0 && amount.is_multiple_of(*factor))
        .unwrap_or(&units[0]);
    format!("{}{unit}", amount / factor)
}

fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// TOML's basic string. Rust's debug form escapes what TOML wants escaped, but writes code points as `\u{…}`.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            character if character.is_control() => {
                quoted.push_str(&format!("\\u{:04X}", u32::from(character)))
            }
            character => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

const ADDRESS: &str = "an address and port, like \"127.0.0.1:8080\" or \"[::]:5684\"";

const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];

/// A guess: nobody listens on more addresses by hand.
const MAX_LISTENERS: usize = 64;

const SPANS: &[(&str, u64)] = &[
    ("ms", 1),
    ("s", 1000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

const SIZES: &[(&str, u64)] = &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
