//! Data on standard output: as a table for people, as JSON or NDJSON for programs.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use clap::ValueEnum;
use serde_json::Value;
use unicode_width::UnicodeWidthChar as _;

use super::failure::Failure;
use crate::clock;

/// The form of what goes to standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Aligned columns, for people
    Table,
    /// One JSON document
    Json,
    /// One JSON document a line
    Ndjson,
}

/// A column of a table: its heading, and what it shows of an item.
pub type Column = (&'static str, fn(&Value) -> String);

impl Output {
    /// Prints a list. For people, one without anything in it is told in a sentence, `none`, and not as headings alone.
    pub fn list(self, items: &[Value], columns: &[Column], none: &str) {
        let mut listing = Listing::new(self, columns);
        print(&listing.page(items));
        listing.end(none);
    }

    /// The same of a list that comes in pages: what has come is printed, however much follows.
    ///
    /// # Errors
    /// A page does not come. Those before it are printed.
    pub fn pages(
        self,
        pages: impl Iterator<Item = Result<Vec<Value>, Failure>>,
        columns: &[Column],
        none: &str,
    ) -> Result<(), Failure> {
        let mut listing = Listing::new(self, columns);
        for page in pages {
            print(&listing.page(&page?));
        }
        listing.end(none);
        Ok(())
    }

    /// Prints one thing; as a table, its fields below each other.
    pub fn one(self, item: &Value, fields: &[Column]) {
        match self {
            Self::Table => {
                let rows = fields
                    .iter()
                    .map(|(heading, show)| vec![(*heading).to_owned(), show(item)])
                    .filter(|row| !row[1].is_empty())
                    .collect();
                print(&table(rows));
            }
            Self::Json => print(&spelled_out(&format!("{item:#}\n"))),
            Self::Ndjson => print_line(item),
        }
    }
}

/// A list on its way to standard output.
struct Listing<'a> {
    output: Output,
    columns: &'a [Column],
    /// How wide the columns of the table are so far.
    widths: Vec<usize>,
    is_empty: bool,
}

impl<'a> Listing<'a> {
    fn new(output: Output, columns: &'a [Column]) -> Self {
        Self {
            output,
            columns,
            widths: Vec::new(),
            is_empty: true,
        }
    }

    /// The text of the next items.
    fn page(&mut self, items: &[Value]) -> String {
        let is_first = self.is_empty;
        self.is_empty &= items.is_empty();
        match self.output {
            _ if items.is_empty() => String::new(),
            Output::Table => {
                let heading = self.columns.iter().map(|(heading, _)| (*heading).to_owned());
                let heading = is_first.then(|| heading.collect());
                let rows = items
                    .iter()
                    .map(|item| self.columns.iter().map(|(_, show)| show(item)).collect());
                let rows: Vec<_> = heading.into_iter().chain(rows).collect();
                aligned(&rows, &mut self.widths)
            }
            // As one document: what is between its brackets is indented.
            Output::Json => {
                let items = items.iter().map(|item| format!("{item:#}").replace('\n', "\n  "));
                let items = items.collect::<Vec<_>>().join(",\n  ");
                let before = if is_first { "[\n  " } else { ",\n  " };
                spelled_out(&format!("{before}{items}"))
            }
            Output::Ndjson => spelled_out(&items.iter().map(|item| format!("{item}\n")).collect::<String>()),
        }
    }

    fn end(self, none: &str) {
        match self.output {
            Output::Table if self.is_empty => say(none),
            Output::Json if self.is_empty => print("[]\n"),
            Output::Json => print("\n]\n"),
            Output::Table | Output::Ndjson => {}
        }
    }
}

/// Writes data to standard output. A reader that went away ends the program, as it does for other tools.
pub fn print(text: &str) {
    let mut out = io::stdout().lock();
    if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
        std::process::exit(1);
    }
}

/// Writes data to standard output as a line of NDJSON.
pub fn print_line(item: &Value) {
    print(&spelled_out(&format!("{item}\n")));
}

/// Writes a line of talk to standard error. What it quotes may come from devices, from files and from whoever answers.
pub fn say(line: &str) {
    // Nobody is left to tell that nobody listens.
    let _ = writeln!(io::stderr(), "{}", harmless(line));
}

/// Text of several lines as a terminal takes it for text, whatever is quoted in it.
fn harmless(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(escaped).collect();
    lines.join("\n")
}

/// Text on one line that a terminal takes for text: what would drive it or turn around how the line reads is spelled out.
pub fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if drives(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// JSON in which that is spelled out too: it reads the same.
fn spelled_out(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for character in json.chars() {
        // All of them have four digits, and a line ends between two tokens only.
        if drives(character) && character != '\n' {
            let _ = write!(shown, "\\u{:04x}", u32::from(character));
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Whether a character is not text: a control character, or one that turns around how a line reads.
fn drives(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Asks whether `what` is meant, which is said by typing a word. Where nobody can be asked, that is a mistake of who called: what
/// cannot be undone, or is of more than was named, is not done because a script forgot to say so.
pub fn confirm_by_typing(what: &str, (name, word): (&str, &str), undone: &str) -> Result<(), Failure> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Failure::Usage(format!("{what}: say --yes if that is meant")));
    }
    say(&format!("{what}; type {name} to go on:"));
    let mut answer = String::new();
    match io::stdin().read_line(&mut answer).is_ok() && answer.trim() == word {
        true => Ok(()),
        false => Err(Failure::Failed(undone.to_owned())),
    }
}

/// Aligns rows of cells in columns.
pub fn table(rows: Vec<Vec<String>>) -> String {
    aligned(&rows, &mut Vec::new())
}

/// The same of rows that follow others, which had columns of these widths: they only grow.
fn aligned(rows: &[Vec<String>], widths: &mut Vec<usize>) -> String {
    for row in rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (cell, known) in row.iter().zip(widths.iter_mut()) {
            *known = width(cell).max(*known);
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, wanted) in row.iter().zip(widths.iter()) {
            line.push_str(cell);
            if cell.chars().any(runs_backwards) {
                line.push(LEFT_TO_RIGHT);
            }
            line.extend(std::iter::repeat_n(' ', wanted + COLUMN_GAP - width(cell)));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A field of an item as text; nothing where it is absent or null. Versions come from devices, which may report
/// anything: what drives a terminal does not reach it.
pub fn field(item: &Value, pointer: &str) -> String {
    match item.pointer(pointer) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.replace(drives, "\u{fffd}"),
        Some(Value::Array(values)) => {
            let shown: Vec<String> = values.iter().map(|value| field(value, "")).collect();
            shown.join(", ")
        }
        Some(other) => other.to_string(),
    }
}

/// A number of bytes for people.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut amount = bytes as f64 / 1024.0;
    let mut unit = 0;
    while amount >= 1024.0 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    format!("{amount:.1} {}", UNITS[unit])
}

/// How long ago an RFC 3339 time was.
pub fn ago(item: &Value, pointer: &str) -> String {
    let text = field(item, pointer);
    let Ok(time) = time::OffsetDateTime::parse(&text, &time::format_description::well_known::Rfc3339) else {
        return text;
    };
    let seconds = clock::unix_ms() / 1000 - time.unix_timestamp();
    match seconds {
        ..0 => text,
        0..60 => format!("{seconds} s ago"),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..86_400 => format!("{} h ago", seconds / 3600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

/// How long something took, in its two largest units.
pub fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let (large, small) = match seconds {
        0..60 => return format!("{seconds} s"),
        60..3600 => ((seconds / 60, "min"), (seconds % 60, "s")),
        3600..86_400 => ((seconds / 3600, "h"), (seconds % 3600 / 60, "min")),
        _ => ((seconds / 86_400, "d"), (seconds % 86_400 / 3600, "h")),
    };
    match small {
        (0, _) => format!("{} {}", large.0, large.1),
        (amount, unit) => format!("{} {} {amount} {unit}", large.0, large.1),
    }
}

/// A name as it is typed in a shell, where it is suggested as a part of a command.
pub fn word(name: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "._-+:@/=,%".contains(c);
    match !name.is_empty() && name.chars().all(is_plain) {
        true => name.to_owned(),
        false => format!("'{}'", name.replace('\'', "'\\''")),
    }
}

/// `1 device`, `2 devices`.
pub fn count(number: u64, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    }
}

/// A Unix time as RFC 3339, in UTC.
pub fn rfc3339(unix_seconds: i64) -> Result<String, Failure> {
    time::OffsetDateTime::from_unix_timestamp(unix_seconds)
        .ok()
        .and_then(|time| time.format(&time::format_description::well_known::Rfc3339).ok())
        .ok_or_else(|| Failure::Failed("this machine's clock is out of range".to_owned()))
}

/// Whether standard output takes colour: a terminal, and <https://no-color.org> not asked for.
pub fn takes_colour() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Columns on screen, escape sequences not counted.
fn width(cell: &str) -> usize {
    let mut columns = 0;
    let mut escaped = false;
    for character in cell.chars() {
        match character {
            '\u{1b}' => escaped = true,
            'm' if escaped => escaped = false,
            _ if escaped => {}
            // What a terminal does with a control character is not known; none comes this far.
            _ => columns += character.width().unwrap_or(1),
        }
    }
    columns
}

/// Whether a character is of a writing that runs from right to left: Hebrew, Arabic and their neighbours.
fn runs_backwards(character: char) -> bool {
    matches!(character, '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}' | '\u{10800}'..='\u{10fff}' | '\u{1e800}'..='\u{1efff}')
}

/// The mark that ends it, so that a terminal that turns such writing around leaves the columns after it where they are.
const LEFT_TO_RIGHT: char = '\u{200e}';
const COLUMN_GAP: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_whatever_its_colour() {
        let rows = vec![
            vec!["NAME".to_owned(), "VERSION".to_owned()],
            vec!["main".to_owned(), "\u{1b}[32m1.4.0 ↑\u{1b}[0m".to_owned()],
            vec!["bootloader".to_owned(), "7".to_owned()],
        ];
        assert_eq!(
            table(rows),
            "NAME        VERSION\nmain        \u{1b}[32m1.4.0 ↑\u{1b}[0m\nbootloader  7\n"
        );
    }

    #[test]
    fn columns_are_aligned_in_any_writing() {
        for (cell, columns) in [
            ("lamp", 4),
            ("灯", 2),
            ("ランプ", 6),
            ("등", 2),
            ("💡1", 3),
            ("e\u{301}te\u{301}", 3),
            ("مصباح", 5),
            ("●↑–✕░", 5),
        ] {
            assert_eq!(width(cell), columns, "{cell}");
        }
        let rows = [["NAME", "ID"], ["灯", "1"], ["lamp", "2"], ["עברית", "3"]];
        let rows = rows.map(|row| row.map(str::to_owned).to_vec()).to_vec();
        assert_eq!(table(rows), "NAME   ID\n灯     1\nlamp   2\nעברית\u{200e}  3\n");
    }

    #[test]
    fn a_list_in_pages_is_printed_as_they_come_and_reads_as_one() {
        let item = |name: &str| serde_json::json!({ "name": name, "tags": ["a"] });
        let pages = [vec![item("a"), item("b")], vec![], vec![item("a-long-name")]];
        let all: Vec<Value> = pages.concat();
        let columns: &[Column] = &[
            ("NAME", |item| field(item, "/name")),
            ("TAGS", |item| field(item, "/tags")),
        ];
        let texts = |output| -> Vec<String> {
            let mut listing = Listing::new(output, columns);
            pages.iter().map(|page| listing.page(page)).collect()
        };
        assert_eq!(
            texts(Output::Table),
            ["NAME  TAGS\na     a\nb     a\n", "", "a-long-name  a\n"],
            "there is one heading, and columns grow"
        );
        assert_eq!(
            texts(Output::Ndjson).concat(),
            all.iter().map(|item| format!("{item}\n")).collect::<String>()
        );
        assert_eq!(
            format!("{}\n]", texts(Output::Json).concat()),
            format!("{:#}", Value::Array(all))
        );
    }

    #[test]
    fn what_a_device_reports_cannot_drive_the_terminal() {
        let package = serde_json::json!({ "version": "1\u{1b}]0;x\u{7}\n2" });
        assert_eq!(field(&package, "/version"), "1\u{fffd}]0;x\u{fffd}\u{fffd}2");
        let turned = serde_json::json!({ "version": "1.0\u{202e}2.0" });
        assert_eq!(field(&turned, "/version"), "1.0\u{fffd}2.0");
    }

    #[test]
    fn what_a_device_reports_cannot_drive_the_terminal_as_json_either() {
        let item = serde_json::json!({ "version": "1\u{1b}\u{9b}31m\u{7f}\n\u{202e}2 grün 灯 💡" });
        for text in [spelled_out(&format!("{item:#}")), spelled_out(&item.to_string())] {
            assert!(
                text.chars()
                    .all(|character| character == '\n' || !drives(character)),
                "{text}"
            );
            assert!(text.contains("grün 灯 💡"), "{text}");
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), item);
        }
    }

    #[test]
    fn what_is_quoted_in_talk_cannot_drive_the_terminal() {
        assert_eq!(
            harmless("error: unknown field `\u{1b}[2J\u{9b}31m`\r\n  because: \u{202e}grün"),
            "error: unknown field `\\u{1b}[2J\\u{9b}31m`\\r\n  because: \\u{202e}grün"
        );
    }

    #[test]
    fn a_time_is_told_in_its_two_largest_units() {
        for (seconds, shown) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (63, "1 min 3 s"),
            (3600, "1 h"),
            (3659, "1 h"),
            (5400, "1 h 30 min"),
            (86_399, "23 h 59 min"),
            (90_000, "1 d 1 h"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), shown);
        }
    }

    #[test]
    fn a_name_with_spaces_is_one_word_of_a_suggested_command() {
        for (name, typed) in [
            ("lamps", "lamps"),
            ("main@1.4.0+7", "main@1.4.0+7"),
            ("field trial", "'field trial'"),
            ("Ann's; rm $HOME", "'Ann'\\''s; rm $HOME'"),
            ("", "''"),
        ] {
            assert_eq!(word(name), typed);
        }
    }

    #[test]
    fn sizes_are_in_the_unit_that_fits() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(262_144), "256.0 KiB");
        assert_eq!(bytes(5 << 30), "5.0 GiB");
    }
}
