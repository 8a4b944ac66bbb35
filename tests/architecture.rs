//! Holds the direction of imports (`src/ARCHITECTURE.md`): who may use whom, and through which door a dependency
//! comes in. Changing a table here is a design change: say why in the commit.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Left may use right, never back. A module may always use itself.
const MAY_USE: &[(&str, &[&str])] = &[
    ("clock", &[]),
    ("config", &[]),
    ("telemetry", &[]),
    ("dtls", &[]),
    ("coap", &[]),
    ("fleet", &[]),
    ("picture", &[]),
    ("manifest", &["fleet"]),
    ("store", &["fleet"]),
    ("transport", &["clock", "coap", "dtls", "telemetry"]),
    ("control", &["clock", "fleet", "manifest", "store", "telemetry"]),
    (
        "device_api",
        &[
            "clock",
            "coap",
            "control",
            "fleet",
            "manifest",
            "telemetry",
            "transport",
        ],
    ),
    ("virtual_device", &["coap", "dtls"]),
    (
        "admin",
        &["clock", "control", "fleet", "manifest", "picture", "telemetry"],
    ),
    (
        "app",
        &[
            "admin",
            "clock",
            "config",
            "control",
            "device_api",
            "store",
            "telemetry",
            "transport",
        ],
    ),
    ("cli", &["app", "clock", "config", "virtual_device"]),
];

/// A dependency and the only places (path prefixes below `src`) that may name it.
const DOORS: &[(&str, &[&str])] = &[
    ("serde_cbor", &["manifest/"]),
    ("minicbor", &["virtual_device/"]),
    ("plotters", &["picture/draw.rs"]),
    ("sqlx", &["store/"]),
    ("ring", &["dtls/crypto.rs", "store/seal.rs"]),
    ("aes", &["dtls/crypto.rs"]),
    ("cbc", &["dtls/crypto.rs"]),
    ("ccm", &["dtls/crypto.rs"]),
    ("webpki", &["dtls/certificate/"]),
    ("rustls_pki_types", &["dtls/certificate/", "dtls/tests/"]),
    // Who vouches for a device is the domain's to say, and what an operator uploads is looked at before it is believed.
    ("x509_parser", &["dtls/certificate/", "fleet/certificate.rs"]),
    ("askama", &["admin/console/", "picture/draw.rs"]),
    ("cookie", &["admin/console/"]),
    ("axum", &["admin/"]),
    // TLS for operators; its client half is what the command line's HTTP library is built on.
    ("tokio_rustls", &["admin/tls.rs", "cli/client.rs"]),
    ("hyper", &["admin/"]),
    ("utoipa", &["admin/"]),
    ("clap", &["cli/"]),
    ("clap_complete", &["cli/completions.rs"]),
    ("ureq", &["cli/"]),
    ("indicatif", &["cli/"]),
    ("unicode_width", &["cli/output.rs"]),
    ("metrics", &["telemetry/"]),
    ("metrics_exporter_prometheus", &["telemetry/"]),
    ("tracing_subscriber", &["telemetry/"]),
    ("nix", &["transport/"]),
    ("rustix", &["store/blobs.rs", "store/disk.rs", "store/reserve.rs"]),
    ("socket2", &["transport/"]),
    ("toml", &["config/"]),
    ("csv_core", &["admin/rows.rs"]),
    ("coap_lite", &[]),
    ("webrtc_dtls", &[]),
];

/// Text that only one place may hold, with the reason.
const ONLY_IN: &[(&str, &[&str], &str)] = &[
    (
        "Instant::now()",
        &["clock.rs"],
        "time is an argument; clock.rs is the only reader of clocks",
    ),
    (
        "SystemTime::now()",
        &["clock.rs"],
        "time is an argument; clock.rs is the only reader of clocks",
    ),
    ("StatusCode::", &["admin/"], "HTTP statuses are admin's"),
];

/// The cores that know neither the network, nor the disk, nor a runtime.
const SANS_IO: &[&str] = &[
    "coap/",
    "dtls/",
    "fleet/",
    "manifest/",
    "picture/",
    "virtual_device/",
];
const IO: &[&str] = &[
    "tokio",
    "std::net::UdpSocket",
    "std::fs",
    "std::thread",
    "async fn",
];

#[test]
fn imports_run_one_way() {
    let mut wrong = Vec::new();
    for source in sources() {
        let module = source.module();
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == module) else {
            assert!(
                matches!(module.as_str(), "lib" | "main"),
                "{} belongs to no module of the import table",
                source.path
            );
            continue;
        };
        for used in crate_modules_named_in(&source.code) {
            if used != module && !allowed.contains(&used.as_str()) {
                wrong.push(format!("{}: {module} may not use {used}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_module_of_the_table_exists_and_every_module_is_in_the_table() {
    let present: BTreeSet<String> = sources()
        .iter()
        .map(Source::module)
        .filter(|name| name != "lib" && name != "main")
        .collect();
    let listed: BTreeSet<String> = MAY_USE.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(present, listed);
}

#[test]
fn the_import_table_has_no_cycle() {
    fn visit(name: &str, path: &mut Vec<String>) {
        assert!(
            !path.iter().any(|seen| seen == name),
            "cycle: {} → {name}",
            path.join(" → ")
        );
        path.push(name.to_owned());
        for used in MAY_USE
            .iter()
            .find(|(module, _)| *module == name)
            .map_or(&[][..], |(_, uses)| uses)
        {
            visit(used, path);
        }
        path.pop();
    }
    for (name, _) in MAY_USE {
        visit(name, &mut Vec::new());
    }
}

#[test]
fn every_dependency_has_one_door() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (dependency, doors) in DOORS {
            if names_crate(&source.code, dependency)
                && !doors.iter().any(|door| source.path.starts_with(door))
            {
                wrong.push(format!(
                    "{} names {dependency}, whose door is {doors:?}",
                    source.path
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_belongs_to_one_place_stands_in_one_place() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (text, places, reason) in ONLY_IN {
            if source.code.contains(text) && !places.iter().any(|place| source.path.starts_with(place)) {
                wrong.push(format!("{} holds `{text}`: {reason}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_cores_know_neither_network_nor_disk_nor_runtime() {
    let mut wrong = Vec::new();
    for source in sources() {
        if SANS_IO.iter().any(|core| source.path.starts_with(core)) {
            for io in IO {
                let found = if io.contains(' ') || io.contains("::") {
                    source.code.contains(io)
                } else {
                    names_crate(&source.code, io)
                };
                if found {
                    wrong.push(format!("{} names {io}", source.path));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_checker_sees_an_import_in_every_form_it_is_written() {
    let code = without_comments_and_tests(
        "use crate::coap::wire;\nuse crate::{dtls, fleet::{Package, Version}};\nlet x = crate::store::open();\n\
         // use crate::admin;\n/* crate::cli */\n#[cfg(test)]\nmod tests { use crate::control; }\n",
    );
    let seen: Vec<String> = crate_modules_named_in(&code).into_iter().collect();
    assert_eq!(seen, ["coap", "dtls", "fleet", "store"]);
    assert!(names_crate("use sqlx::Row;", "sqlx") && names_crate("let a = sqlx::query();", "sqlx"));
    assert!(!names_crate("let ring_buffer = deferring::x();", "ring"));
}

struct Source {
    /// Below `src`, with `/`.
    path: String,
    /// Without comments and without what only tests compile.
    code: String,
}

impl Source {
    fn module(&self) -> String {
        let first = self.path.split('/').next().unwrap();
        first.trim_end_matches(".rs").to_owned()
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    assert!(
        files.len() > 20,
        "the sources were not found below {}",
        root.display()
    );
    files
        .into_iter()
        .map(|file| Source {
            path: file
                .strip_prefix(&root)
                .unwrap()
                .to_string_lossy()
                .replace('\\', "/"),
            code: without_comments_and_tests(&fs::read_to_string(&file).unwrap()),
        })
        .collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "tests" {
                collect(&path, files);
            }
        } else if name.ends_with(".rs") && name != "tests.rs" && !name.ends_with("_tests.rs") {
            files.push(path);
        }
    }
}

/// Good enough for our own, formatted sources: tests stand last in a file, after `#[cfg(test)]`.
fn without_comments_and_tests(text: &str) -> String {
    let text = &text[..tests_start(text)];
    let mut code = String::new();
    let mut depth = 0_usize;
    for line in text.lines() {
        let mut rest = line;
        while !rest.is_empty() {
            if depth > 0 {
                match rest.find("*/") {
                    Some(end) => {
                        depth -= 1;
                        rest = &rest[end + 2..];
                    }
                    None => break,
                }
            } else if let Some(start) = rest.find("/*").filter(|at| !rest[..*at].contains("//")) {
                code.push_str(&rest[..start]);
                depth += 1;
                rest = &rest[start + 2..];
            } else {
                code.push_str(comment_start(rest).map_or(rest, |at| &rest[..at]));
                break;
            }
        }
        code.push('\n');
    }
    code
}

/// Where the file's own tests begin: `#[cfg(test)]`, further attributes, `mod`.
fn tests_start(text: &str) -> usize {
    text.match_indices("\n#[cfg(test)]\n")
        .map(|(at, _)| at)
        .find(|at| {
            let mut lines = text[at + 1..].lines();
            lines
                .find(|line| !line.starts_with("#[") && !line.ends_with(")]"))
                .is_some_and(|l| l.starts_with("mod "))
        })
        .unwrap_or(text.len())
}

fn comment_start(line: &str) -> Option<usize> {
    line.match_indices("//")
        .map(|(at, _)| at)
        .find(|&at| line[..at].matches('"').count().is_multiple_of(2))
}

fn crate_modules_named_in(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at]
            .chars()
            .next_back()
            .is_some_and(|before| before.is_alphanumeric() || before == '_')
        {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut name = String::new();
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => found.extend(first_segment(&std::mem::take(&mut name))),
                    _ => {}
                }
                if depth == 0 && c != ',' {
                    name.push(c);
                }
            }
            found.extend(first_segment(&name));
        } else {
            found.extend(first_segment(rest));
        }
    }
    found
}

fn first_segment(path: &str) -> Option<String> {
    let name: String = path
        .trim_start()
        .chars()
        .take_while(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '_')
        .collect();
    (!name.is_empty()).then_some(name)
}

fn names_crate(code: &str, name: &str) -> bool {
    let path = format!("{name}::");
    let in_path = code.match_indices(&path).any(|(at, _)| {
        !code[..at]
            .chars()
            .next_back()
            .is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
    });
    in_path || code.contains(&format!("use {name};"))
}
