//! Replays the corpus of the fuzz targets, and what a fuzzer has found, on the stable toolchain and without a fuzzer.

#![allow(clippy::unwrap_used)]

#[path = "fuzz/targets/mod.rs"]
mod targets;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[test]
fn every_target_holds_on_every_input_of_its_corpus() {
    for (name, target) in targets::ALL {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fuzz/corpus")
            .join(name);
        let mut inputs: Vec<_> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        inputs.sort();
        assert!(
            inputs.len() >= 5,
            "{} has {} inputs",
            folder.display(),
            inputs.len()
        );
        for input in inputs {
            // Seen where one fails.
            println!("{}", input.display());
            target(&fs::read(&input).unwrap());
        }
    }
}

#[test]
fn every_target_holds_on_handshakes_as_they_go_today() {
    for seed in targets::seeds() {
        println!("{} {}", seed.target, seed.name);
        let (_, target) = targets::ALL
            .iter()
            .find(|(name, _)| *name == seed.target)
            .unwrap();
        target(&seed.input);
    }
}

#[test]
fn every_target_has_a_program_and_a_corpus_and_nobody_else_has() {
    let targets: BTreeSet<String> = targets::ALL.iter().map(|(name, _)| (*name).to_owned()).collect();
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    for folder in ["corpus", "fuzz_targets"] {
        let names = fs::read_dir(fuzz.join(folder)).unwrap();
        let names: BTreeSet<String> = names
            .map(|entry| {
                entry
                    .unwrap()
                    .path()
                    .file_stem()
                    .unwrap()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        assert_eq!(names, targets, "{folder}");
    }
}

#[test]
fn the_corpus_is_small() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    let bytes: u64 = targets::ALL
        .iter()
        .flat_map(|(name, _)| fs::read_dir(corpus.join(name)).unwrap())
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(
        bytes < 1 << 20,
        "{bytes} bytes; `tests/fuzz/README.md` says how to minimise it"
    );
}
