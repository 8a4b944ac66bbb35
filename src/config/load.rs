//! Joins what was said with what is known, and reports every mistake at once.

use std::fs;
use std::path::{Path, PathBuf};

use super::checked::{Config, split};
use super::mistake::{ConfigErrors, Mistake};
use super::raw::{Origin, RawValue, Said, from_environment, from_toml};
use super::value::MASK;

/// Where to look.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// The file, if there is one. A file that was named must exist.
    pub file: Option<PathBuf>,
    /// The environment; only `TESSERA__…` is looked at.
    pub env: Vec<(String, String)>,
    /// Flags as (key, value): they win over everything.
    pub overrides: Vec<(String, String)>,
}

/// Loads the configuration.
///
/// # Errors
///
/// Every mistake, each with the key, the value, where it was said and what is accepted.
pub fn load(options: &LoadOptions) -> Result<Config, ConfigErrors> {
    let mut mistakes = Vec::new();
    let mut layers = Vec::new();
    if let Some(path) = &options.file {
        layers.push(read_file(path, &mut mistakes));
    }
    layers.push(from_environment(&options.env));
    layers.push(from_flags(&options.overrides));

    let mut config = Config::default();
    for layer in layers {
        apply(&mut config, layer, &mut mistakes);
    }
    if mistakes.is_empty() {
        mistakes = config.contradictions();
    }
    if mistakes.is_empty() {
        Ok(config)
    } else {
        Err(ConfigErrors(mistakes))
    }
}

fn read_file(path: &Path, mistakes: &mut Vec<Mistake>) -> Said {
    match fs::read_to_string(path) {
        Ok(text) => from_toml(path, &text, mistakes),
        Err(error) => {
            let origin = Origin::File {
                path: path.to_owned(),
                line: None,
            };
            mistakes.push(Mistake::source(
                origin,
                format!("the file cannot be read: {error}"),
            ));
            Said::new()
        }
    }
}

fn from_flags(overrides: &[(String, String)]) -> Said {
    overrides
        .iter()
        .map(|(key, value)| {
            (
                key.clone(),
                (
                    RawValue::Word(value.clone()),
                    Origin::Flag("the command line".to_owned()),
                ),
            )
        })
        .collect()
}

/// Sets what one layer says. Layers come weakest first, so that a stronger one overwrites; a mistake in a
/// weaker layer is reported even where a stronger one hides it.
fn apply(config: &mut Config, mut layer: Said, mistakes: &mut Vec<Mistake>) {
    let mut settings = config.settings();
    for setting in &mut settings {
        let secret = setting.value.is_secret();
        let said = layer.remove(setting.key);
        let in_file = secret
            .then(|| layer.remove(&format!("{}_file", setting.key)))
            .flatten();
        let (value, origin) = match (said, in_file) {
            (None, None) => continue,
            (Some(said), None) => said,
            (None, Some((file, origin))) => match read_secret(&file) {
                Ok(value) => (value, origin),
                Err(problem) => {
                    let key = format!("{}_file", setting.key);
                    mistakes.push(Mistake::value(&key, file.to_string(), origin, problem));
                    continue;
                }
            },
            (Some((_, origin)), Some(_)) => {
                let problem = format!("expected either this or {}_file, not both", setting.key);
                mistakes.push(Mistake::key(setting.key, origin, problem));
                continue;
            }
        };
        if secret && matches!(origin, Origin::Flag(_)) {
            let problem = format!(
                "the command line of a program can be read by everybody on its machine; say it in the file or the environment, \
                 or say {}_file",
                setting.key
            );
            mistakes.push(Mistake::key(setting.key, origin, problem));
            continue;
        }
        if let Err(accepted) = setting.value.set(&value) {
            let shown = if secret {
                MASK.to_owned()
            } else {
                value.to_string()
            };
            mistakes.push(Mistake::value(setting.key, shown, origin, accepted));
        }
    }
    let mut keys = Vec::new();
    for setting in &settings {
        keys.push(setting.key.to_owned());
        if setting.value.is_secret() {
            keys.push(format!("{}_file", setting.key));
        }
    }
    mistakes.extend(
        layer
            .into_iter()
            .filter_map(|(key, (_, origin))| unknown(&key, origin, &keys)),
    );
}

fn read_secret(file: &RawValue) -> Result<RawValue, String> {
    let path = file.text().ok_or("a path to a file")?;
    match fs::read_to_string(path) {
        Ok(secret) => Ok(RawValue::Text(secret.trim_end_matches(['\r', '\n']).to_owned())),
        Err(error) => Err(format!("a file that can be read ({error})")),
    }
}

/// What is wrong with a key that no setting took; nothing, if it stands for a known section without keys.
fn unknown(key: &str, origin: Origin, keys: &[String]) -> Option<Mistake> {
    let (section, name) = match key.split_once('.') {
        Some((section, name)) => (section, Some(name)),
        None => (key, None),
    };
    let siblings: Vec<&str> = keys
        .iter()
        .map(|key| split(key))
        .filter(|(of, _)| *of == section)
        .map(|(_, name)| name)
        .collect();
    if siblings.is_empty() {
        let mut sections: Vec<&str> = keys.iter().map(|key| split(key).0).collect();
        sections.dedup();
        let problem = format!(
            "there is no section [{section}]; the sections are {}",
            sections.join(", ")
        );
        return Some(Mistake::key(key.trim_end_matches('.'), origin, problem));
    }
    let has = siblings.join(", ");
    match name {
        Some("") => None,
        Some(_) => Some(Mistake::key(
            key,
            origin,
            format!("unknown key; [{section}] has {has}"),
        )),
        None => Some(Mistake::key(
            key,
            origin,
            format!("expected a section with the keys {has}"),
        )),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
