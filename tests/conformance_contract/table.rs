//! The table in `tests/README.md` cannot rot: what it names exists, and what has to be in it is.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[test]
fn the_table_of_the_device_contract_is_whole() {
    let rows = rows(include_str!("../README.md"));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut everywhere = BTreeSet::new();
    for folder in ["src", "tests", "load-tests"] {
        functions_below(&root.join(folder), &mut everywhere);
    }
    let named: BTreeSet<&str> = rows.iter().flat_map(|row| row.tests.iter().copied()).collect();
    let lost: Vec<_> = named.iter().filter(|name| !everywhere.contains(**name)).collect();
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
        let mut here = BTreeSet::new();
        functions_below(&root.join("tests").join(folder), &mut here);
        unlisted.extend(
            here.into_iter()
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
fn the_reader_of_the_table_sees_its_rows_and_nothing_else() {
    let text = "| where | what |\n| --- | --- |\n| `a.rs` | b | c |\n## The device contract\n| rule | in short | held by |\n\
                | --- | --- | --- |\n| 0.1 | `x` is | `one`, `two` |\n| 3 GET `.c` | y | nobody |\n";
    let rows = rows(text);
    let names: Vec<_> = rows.iter().map(|row| (row.name, row.tests.as_slice())).collect();
    assert_eq!(names, [("0.1", &["one", "two"][..]), ("3 GET `.c`", &[])]);
}

/// One rule or row of the contract.
struct Row<'t> {
    name: &'t str,
    tests: Vec<&'t str>,
}

/// The rows of three columns below the contract's heading, without the tables' own heads.
fn rows(text: &str) -> Vec<Row<'_>> {
    let (_, contract) = text.split_once("## The device contract\n").unwrap();
    contract
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
            let tests = tests.split('`').skip(1).step_by(2).collect();
            (!matches!(name, "---" | "rule" | "row" | "what")).then_some(Row { name, tests })
        })
        .collect()
}

/// The names of all functions in the Rust files below a folder.
fn functions_below(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            functions_below(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            for (at, _) in text.match_indices("fn ") {
                let name = text[at + 3..]
                    .split(|c: char| !c.is_alphanumeric() && c != '_')
                    .next();
                names.extend(name.map(str::to_owned));
            }
        }
    }
}

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
