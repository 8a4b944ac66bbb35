//! The tables in `tests/README.md` cannot rot: what they name exists, and what has to be in them is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

#[test]
fn the_table_of_the_device_contract_is_whole() {
    let rows = rows(include_str!("../README.md"));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let everywhere = functions_everywhere();
    let named: BTreeSet<&str> = rows.iter().flat_map(|row| row.tests.iter().copied()).collect();
    let lost: Vec<_> = named
        .iter()
        .filter(|name| !everywhere.contains_key(**name))
        .collect();
    assert!(
        lost.is_empty(),
        "named in tests/README.md, but there is no such test: {lost:#?}"
    );
    let empty: Vec<_> = rows
        .iter()
        .filter(|row| row.tests.is_empty())
        .map(|row| row.name)
        .collect();
    assert!(empty.is_empty(), "rows without a test: {empty:#?}");

    let mut unlisted = Vec::new();
    for (folder, beginning) in [("conformance_contract", "contract_"), ("simulation", "rule_")] {
        let mut here = BTreeMap::new();
        functions_below(&root.join("tests").join(folder), &mut here);
        unlisted.extend(
            here.into_keys()
                .filter(|name| name.starts_with(beginning) && !named.contains(name.as_str())),
        );
    }
    assert!(
        unlisted.is_empty(),
        "tests that no row of tests/README.md names: {unlisted:#?}"
    );

    let have: BTreeSet<&str> = rows.iter().map(|row| row.name).collect();
    let rules: Vec<String> = (1..=20).map(|rule| format!("0.{rule}")).collect();
    let wanted = rules
        .iter()
        .map(String::as_str)
        .chain(RESOURCES)
        .chain(GENERATIONS);
    let missing: Vec<_> = wanted.filter(|name| !have.contains(name)).collect();
    assert!(missing.is_empty(), "not in tests/README.md: {missing:#?}");
}

#[test]
fn the_list_of_what_dtls_withstands_is_whole() {
    let everywhere = functions_everywhere();
    let lines = lines(include_str!("../README.md"));
    let numbers: Vec<&str> = lines.iter().map(|line| line.number).collect();
    let expected: Vec<String> = (1..)
        .zip(LINES)
        .flat_map(|(part, count)| (1..=count).map(move |line| format!("{part}.{line}")))
        .collect();
    assert_eq!(numbers, expected, "the numbers of the lines");
    for line in &lines {
        let named = line.core.iter().chain(&line.process);
        let lost: Vec<_> = named.filter(|name| !everywhere.contains_key(**name)).collect();
        assert!(
            lost.is_empty(),
            "line {}: there is no such test: {lost:?}",
            line.number
        );
        assert!(
            !line.core.is_empty(),
            "line {}: nothing against the core",
            line.number
        );
        let part = line.number.split('.').next().unwrap();
        // Handshakes and what devices do with their keys are the core's; the process is shown where it adds something.
        if matches!(part, "2" | "4") {
            continue;
        }
        assert!(
            !line.process.is_empty(),
            "line {}: nothing against the process",
            line.number
        );
        if part == "1" {
            for tests in [&line.core, &line.process] {
                let is_everywhere = |name: &&str| {
                    let body = &everywhere[*name];
                    body.contains("Mode::ALL") || body.contains("CipherSuite::ALL")
                };
                assert!(
                    tests.iter().any(is_everywhere),
                    "line {}: no test in every mode among {tests:?}",
                    line.number
                );
            }
        }
    }
}

#[test]
fn the_reader_of_the_table_sees_its_rows_and_nothing_else() {
    let text = "| where | what |\n| --- | --- |\n| `a.rs` | b | c |\n## The device contract\n| rule | in short | held by |\n\
                | --- | --- | --- |\n| 0.1 | `x` is | `one`, `two` |\n| 3 GET `.c` | y | nobody |\n";
    let rows = rows(text);
    let names: Vec<_> = rows.iter().map(|row| (row.name, row.tests.as_slice())).collect();
    assert_eq!(names, [("0.1", &["one", "two"][..]), ("3 GET `.c`", &[])]);
}

#[test]
fn the_reader_of_the_list_sees_its_lines_and_nothing_else() {
    let text = "| 1.1 | x | `a` | `b` |\n## What DTLS withstands\n| line | what | core | process |\n| --- | --- | --- | --- |\n\
                | 1.1 | `x` is | `one`, `two` | `three` |\n| 1.2 | y | `four` |  |\n## Else\n| 1.3 | z | `five` | `six` |\n";
    let lines = lines(text);
    let seen: Vec<_> = lines
        .iter()
        .map(|line| (line.number, line.core.as_slice(), line.process.as_slice()))
        .collect();
    assert_eq!(
        seen,
        [
            ("1.1", &["one", "two"][..], &["three"][..]),
            ("1.2", &["four"], &[])
        ]
    );
}

/// One rule or row of the contract.
struct Row<'t> {
    name: &'t str,
    tests: Vec<&'t str>,
}

/// One line of what DTLS withstands.
struct Line<'t> {
    number: &'t str,
    core: Vec<&'t str>,
    process: Vec<&'t str>,
}

/// The lines of four columns below their heading, without the tables' own heads.
fn lines(text: &str) -> Vec<Line<'_>> {
    below("What DTLS withstands", text)
        .lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.strip_prefix("| ")?.strip_suffix('|')?.split('|').collect();
            let [number, _, core, process] = cells[..] else {
                panic!("not four columns: {line}")
            };
            let number = number.trim();
            (!matches!(number, "---" | "line")).then(|| Line {
                number,
                core: quoted(core),
                process: quoted(process),
            })
        })
        .collect()
}

/// What stands under a heading of the second level.
fn below<'t>(heading: &str, text: &'t str) -> &'t str {
    let (_, below) = text.split_once(&format!("## {heading}\n")).unwrap();
    below.split("\n## ").next().unwrap()
}

/// What stands between backquotes.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// The rows of three columns below the contract's heading, without the tables' own heads.
fn rows(text: &str) -> Vec<Row<'_>> {
    below("The device contract", text)
        .lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line
                .strip_prefix("| ")?
                .strip_suffix(" |")?
                .split(" | ")
                .collect();
            let [name, _, tests] = cells[..] else {
                panic!("not three columns: {line}")
            };
            let tests = quoted(tests);
            (!matches!(name, "---" | "rule" | "row" | "what")).then_some(Row { name, tests })
        })
        .collect()
}

fn functions_everywhere() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut everywhere = BTreeMap::new();
    for folder in ["src", "tests", "load-tests"] {
        functions_below(&root.join(folder), &mut everywhere);
    }
    everywhere
}

/// All functions in the Rust files below a folder: their names, and the text up to the next one.
fn functions_below(folder: &Path, functions: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            functions_below(&path, functions);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            for after in text.split("fn ").skip(1) {
                let name = after.split(|c: char| !c.is_alphanumeric() && c != '_').next();
                // Several may have a name: the text is that of all of them.
                let body = functions.entry(name.unwrap().to_owned()).or_default();
                body.push_str(after);
            }
        }
    }
}

/// How many lines each part of the list of what DTLS withstands has.
const LINES: [usize; 4] = [20, 49, 5, 8];

/// The rows of section 3, as the table names them.
const RESOURCES: [&str; 20] = [
    "3 GET `.u/desired`",
    "3 GET `.u/c/{package}@{version}`",
    "3 POST `.u/c/{package}`",
    "3 GET `.u/desired/suit`",
    "3 DELETE without a path",
    "3 empty NON and CON",
    "3 GET `hello`",
    "3 POST `echo`",
    "3 POST `.s/logs`, `logs`",
    "3 POST `.s/{path}`",
    "3 `.d/{path}`",
    "3 GET `.c`",
    "3 POST `.c/status`",
    "3 GET `.rpc`",
    "3 POST `.rpc/status`",
    "3 POST `v1/csr`",
    "3 POST `.g/pouch`",
    "3 GET `.g/server-cert`",
    "3 POST `.g/device-cert`",
    "3 other",
];

/// The rows of section 7.
const GENERATIONS: [&str; 10] = [
    "7 esp-idf, below 0.5",
    "7 esp-idf, below 0.8",
    "7 0.8 to 0.10",
    "7 0.11 to 0.21",
    "7 up to 0.15",
    "7 below 0.17",
    "7 below 0.15, Zephyr",
    "7 below 0.21",
    "7 from 0.22",
    "7 golioth-zephyr-sdk",
];
