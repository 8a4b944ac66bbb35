use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use super::super::{Config, ConfigErrors, LoadOptions, MetricsAuth, load};

#[test]
fn a_secret_is_not_taken_from_the_command_line() {
    let options = LoadOptions {
        overrides: vec![("admin.bootstrap_key".to_owned(), "0123456789abcdef".to_owned())],
        ..LoadOptions::default()
    };
    let said = load(&options).unwrap_err().to_string();
    assert!(
        said.contains("admin.bootstrap_key")
            && said.contains("admin.bootstrap_key_file")
            && !said.contains("0123456789abcdef"),
        "{said}"
    );
}

#[test]
fn four_mistakes_are_reported_at_once_with_key_value_place_and_what_is_accepted() {
    let errors = load_text(
        "[coaps]\nlisten = [\"nonsense\"]\nmax_sessions = -5\n\n[admin]\nlisten = \"127.0.0.1:99999\"\n\n[cops]\nx = 1\n",
        &[],
    )
    .unwrap_err();
    let said = errors.to_string();
    assert_eq!(errors.0.len(), 4, "{said}");
    assert!(said.starts_with("4 mistakes in the configuration:"), "{said}");
    for line in [
        r#"coaps.listen = ["nonsense"] (FILE:2): expected a list, each an address and port, like "127.0.0.1:8080" or "[::]:5684""#,
        "coaps.max_sessions = -5 (FILE:3): expected a whole number from 1 to 16777215",
        r#"admin.listen = "127.0.0.1:99999" (FILE:6): expected an address and port, like "127.0.0.1:8080" or "[::]:5684""#,
        "cops.x (FILE:9): there is no section [cops]; the sections are data, coaps, coap, admin, runtime, log",
    ] {
        assert!(said.contains(line), "{line}\nis not in\n{said}");
    }
}

#[test]
fn every_kind_of_mistake_says_what_is_accepted() {
    for (text, expected) in [
        ("[coaps]\nidle_timeout = \"2h\"\n", "from 3h to 365d"),
        ("[coaps]\nidle_timeout = 5\n", "a duration like"),
        ("[coaps]\nidle_timeout_cid = \"2h\"\n", "from 3h to 365d"),
        ("[coaps]\nlisten = 5684\n", "a list, each an address and port"),
        ("[coaps]\nlisten = [5684]\n", "a list, each an address and port"),
        ("[coaps]\nmax_sessions = \"many\"\n", "a whole number"),
        (
            "[coaps]\nmax_sesions = 5\n",
            "unknown key; [coaps] has listen, max_sessions",
        ),
        (
            "[admin]\nboot = 5\n",
            "unknown key; [admin] has listen, bootstrap_key, bootstrap_key_file, metrics_auth",
        ),
        ("coaps = 5\n", "expected a section with the keys listen"),
        ("[empty]\n", "there is no section [empty]"),
        ("[coaps.deep]\nx = 1\n", "unknown key; [coaps] has"),
        ("[admin]\nmetrics_auth = \"maybe\"\n", r#""key" or "none""#),
        ("[admin]\nmax_artifact_bytes = \"2GiB\"\n", "from 1B to 1GiB"),
        (
            "[admin]\nmax_artifact_bytes = 1.5\n",
            "a number of bytes or a text",
        ),
        ("[data]\ndir = \"\"\n", "a path to a folder"),
        ("[coaps]\nraw_public_keys = \"true\"\n", "true or false"),
        ("[coaps]\ncertificate_file = true\n", "a path to a file"),
        (
            "[coaps]\ncertificate_file = \"cert.pem\"\n",
            "coaps.private_key_file beside it, or neither",
        ),
        (
            "[coaps]\nprivate_key_file = \"key.pem\"\n",
            "coaps.certificate_file beside it, or neither",
        ),
        (
            "[coaps]\nraw_public_keys = true\n",
            "false, or coaps.certificate_file and coaps.private_key_file",
        ),
        (
            "[admin]\ntls_cert_file = \"cert.pem\"\n",
            "admin.tls_key_file beside it, or neither",
        ),
        (
            "[admin]\ntls_key_file = \"key.pem\"\n",
            "admin.tls_cert_file beside it, or neither",
        ),
        (
            "[admin]\nlisten = \"0.0.0.0:8080\"\n",
            "admin.tls_cert_file and admin.tls_key_file, or admin.insecure_plaintext = true",
        ),
        (
            "[admin]\nlisten = \"[::]:8080\"\n",
            "an address of this machine alone, such as 127.0.0.1:8080",
        ),
        ("[log]\nformat = true\n", r#""text" or "json""#),
        (
            "[log]\nfilter = \"inof\"\n",
            "a level (off, error, warn, info, debug, trace), or levels by module",
        ),
        ("[log]\nfilter = \"info,tessera::dtls=dbug\"\n", "a level (off,"),
        ("[log]\nfilter = \"info,,warn\"\n", "a level (off,"),
        ("[log]\nfilter = \"tessera=\"\n", "a level (off,"),
        ("[log]\nfilter = \"=info\"\n", "a level (off,"),
        ("[log]\nfilter = \"\"\n", "a level (off,"),
        ("[log]\nfilter = 3\n", "a level (off,"),
        ("[runtime]\nshards = 257\n", "or 0 for one per core"),
        (
            "[coaps]\nlisten = []\n",
            "at least one address here or in coap.listen",
        ),
        (
            "[coap]\nlisten = [\"[::]:5684\"]\n",
            "an address that no other listener has",
        ),
        (
            "[coaps]\nhandshake_initial_timeout = \"9s\"\nhandshake_max_timeout = \"2s\"\n",
            "at most",
        ),
        ("[coaps\n", "FILE:1"),
        ("[coaps]\nlisten = [\n", "FILE:"),
    ] {
        let said = load_text(text, &[]).unwrap_err().to_string();
        assert!(
            said.starts_with("one mistake") || text.starts_with("[coaps\n"),
            "{text}: {said}"
        );
        assert!(said.contains(expected), "{text:?}: {expected:?} is not in {said}");
    }
}

#[test]
fn beyond_this_machine_plain_http_is_spoken_only_where_that_is_said() {
    for text in [
        "listen = \"127.0.0.2:1\"",
        "listen = \"[::1]:1\"",
        "listen = \"[::ffff:127.0.0.1]:1\"",
        "listen = \"0.0.0.0:1\"\ninsecure_plaintext = true",
        "listen = \"0.0.0.0:1\"\ntls_cert_file = \"a\"\ntls_key_file = \"b\"",
    ] {
        load_text(&format!("[admin]\n{text}\n"), &[]).unwrap();
    }
}

#[test]
fn a_flag_beats_the_environment_beats_the_file_beats_the_default() {
    let file = "[coaps]\nmax_sessions = 10\nmax_handshakes = 10\n[coap]\nlisten = [\"127.0.0.1:1\"]\n";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tessera.toml");
    fs::write(&path, file).unwrap();
    let config = load(&LoadOptions {
        file: Some(path),
        env: vec![
            pair("TESSERA__COAPS__MAX_SESSIONS", "20"),
            pair("TESSERA__COAPS__MAX_HANDSHAKES", "20"),
            pair("TESSERA__COAP__LISTEN", "127.0.0.1:2, [::1]:3"),
            pair("TESSERA_URL", "http://elsewhere"),
            pair("HOME", "/root"),
        ],
        overrides: vec![pair("coaps.max_sessions", "30")],
    })
    .unwrap();
    assert_eq!(config.coaps.max_sessions, 30);
    assert_eq!(config.coaps.max_handshakes, 20);
    assert_eq!(
        config.coap.listen,
        ["127.0.0.1:2".parse().unwrap(), "[::1]:3".parse().unwrap()]
    );
    assert_eq!(config.coaps.idle_timeout, Duration::from_secs(24 * 3600));
    assert_eq!(config.coaps.idle_timeout_cid, Duration::from_secs(30 * 24 * 3600));
}

#[test]
fn the_environment_sets_every_kind_of_value() {
    let config = load_text(
        "",
        &[
            ("TESSERA__COAPS__LISTEN", "127.0.0.1:25684"),
            ("TESSERA__COAPS__IDLE_TIMEOUT", "2d"),
            ("TESSERA__COAPS__IDLE_TIMEOUT_CID", "14d"),
            ("TESSERA__ADMIN__MAX_ARTIFACT_BYTES", "64MiB"),
            ("TESSERA__ADMIN__METRICS_AUTH", "none"),
            ("TESSERA__ADMIN__BOOTSTRAP_KEY", "0123456789abcdef"),
            ("TESSERA__DATA__DIR", "/var/lib/tessera"),
            ("TESSERA__RUNTIME__SHARDS", "3"),
        ],
    )
    .unwrap();
    assert_eq!(config.coaps.listen, ["127.0.0.1:25684".parse().unwrap()]);
    assert_eq!(config.coaps.idle_timeout, Duration::from_secs(48 * 3600));
    assert_eq!(config.coaps.idle_timeout_cid, Duration::from_secs(14 * 24 * 3600));
    assert_eq!(config.admin.max_artifact_bytes, 64 << 20);
    assert_eq!(config.admin.metrics_auth, MetricsAuth::None);
    assert_eq!(
        config.admin.bootstrap_key.as_ref().unwrap().expose(),
        "0123456789abcdef"
    );
    assert_eq!(config.data.dir.to_str(), Some("/var/lib/tessera"));
    assert_eq!(config.runtime.shards.unwrap().get(), 3);
}

#[test]
fn a_log_filter_is_levels_and_levels_by_module() {
    for (text, kept) in [
        ("off", "off"),
        ("WARN", "WARN"),
        ("tessera=trace", "tessera=trace"),
        ("info, tessera::dtls=debug", "info,tessera::dtls=debug"),
    ] {
        let config = load_text("", &[("TESSERA__LOG__FILTER", text)]).unwrap();
        assert_eq!(config.log.filter, kept);
    }
}

#[test]
fn an_unknown_variable_is_a_mistake_that_names_it() {
    let said = load_text("", &[("TESSERA__COAPS__LISTENS", "x")])
        .unwrap_err()
        .to_string();
    assert!(
        said.contains("coaps.listens (TESSERA__COAPS__LISTENS): unknown key"),
        "{said}"
    );
}

#[test]
fn a_secret_may_come_from_a_file_and_not_from_two_places() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    fs::write(&path, "a-key-from-a-file-1234\n").unwrap();
    let path = path.to_str().unwrap();

    let config = load_text(&format!("[admin]\nbootstrap_key_file = {path:?}\n"), &[]).unwrap();
    assert_eq!(
        config.admin.bootstrap_key.unwrap().expose(),
        "a-key-from-a-file-1234"
    );

    let both = format!("[admin]\nbootstrap_key_file = {path:?}\nbootstrap_key = \"0123456789abcdef\"\n");
    let said = load_text(&both, &[]).unwrap_err().to_string();
    assert!(
        said.contains("either this or admin.bootstrap_key_file, not both"),
        "{said}"
    );

    let said = load_text("[admin]\nbootstrap_key_file = \"/nowhere/at-all\"\n", &[])
        .unwrap_err()
        .to_string();
    assert!(
        said.contains("/nowhere/at-all") && said.contains("No such file"),
        "{said}"
    );
}

#[test]
fn a_secret_is_never_shown() {
    let config = load_text("[admin]\nbootstrap_key = \"0123456789abcdef\"\n", &[]).unwrap();
    for shown in [config.render_masked(), format!("{config:?}")] {
        assert!(!shown.contains("0123456789abcdef"), "{shown}");
    }
    assert!(config.render_masked().contains("bootstrap_key = \"********\""));
    let said = load_text("[admin]\nbootstrap_key = \"too-short\"\n", &[])
        .unwrap_err()
        .to_string();
    assert!(
        said.contains("admin.bootstrap_key = ********") && !said.contains("too-short"),
        "{said}"
    );
    assert!(said.contains("16 to 256 visible ASCII characters"), "{said}");
}

#[test]
fn what_is_rendered_parses_to_the_same_configuration() {
    let config = load_text(
        "[data]\ndir = \"a \\\"quoted\\\\ path\"\n[coaps]\nidle_timeout = \"90m\"\n",
        &[],
    );
    assert!(config.is_err(), "90 minutes are less than 3 hours");
    let config = load_text(
        "[data]\ndir = \"a \\\"quoted\\\\ path\"\n[coaps]\nidle_timeout = \"300m\"\n[coap]\nlisten = [\"[::1]:5683\"]\n",
        &[],
    )
    .unwrap();
    assert_eq!(load_text(&config.render_masked(), &[]).unwrap(), config);
}

#[test]
fn a_missing_file_is_named() {
    let options = LoadOptions {
        file: Some("/nowhere/tessera.toml".into()),
        ..LoadOptions::default()
    };
    let said = load(&options).unwrap_err().to_string();
    assert!(
        said.contains("/nowhere/tessera.toml: the file cannot be read"),
        "{said}"
    );
}

#[test]
fn the_shipped_file_is_the_defaults_and_has_every_key() {
    let shipped = include_str!("../../config/tessera.toml");
    assert_eq!(load_text(shipped, &[]).unwrap(), Config::default());

    // With every commented key uncommented it still says the defaults, but for the secret and its file.
    let uncommented: String = shipped
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if !setting.starts_with(' ') && setting.contains(" = ") => format!("{setting}\n"),
            _ => format!("{line}\n"),
        })
        .filter(|line| !line.starts_with("bootstrap_key"))
        .collect();
    assert_eq!(
        load_text(&uncommented, &[]).unwrap(),
        Config::default(),
        "{uncommented}"
    );

    let mut section = "";
    let mut present = BTreeSet::new();
    for line in shipped.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name;
        } else if let Some((key, _)) = line.trim_start_matches('#').split_once(" = ")
            && !key.contains(' ')
        {
            present.insert(format!("{section}.{key}"));
        }
    }
    let mut config = Config::default();
    let mut known: BTreeSet<String> = config
        .settings()
        .iter()
        .map(|setting| setting.key.to_owned())
        .collect();
    known.insert("admin.bootstrap_key_file".to_owned());
    assert_eq!(present, known);
}

fn load_text(text: &str, env: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tessera.toml");
    fs::write(&path, text).unwrap();
    let options = LoadOptions {
        file: Some(path.clone()),
        env: env.iter().map(|(name, value)| pair(name, value)).collect(),
        overrides: Vec::new(),
    };
    let shorten = |error: ConfigErrors| {
        let mistakes = error
            .0
            .into_iter()
            .map(|mistake| mistake.with_path("FILE"))
            .collect();
        ConfigErrors(mistakes)
    };
    load(&options).map_err(shorten)
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}
