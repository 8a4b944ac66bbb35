//! What a row of a file says about a device: a CSV record by its columns, a line of NDJSON by its fields.

use serde::Deserialize;
use utoipa::ToSchema;

use super::body::{Object, parse, present};
use super::devices::{Credential, cohort_in_body};
use super::problem::{FieldError, Problem};
use super::rows::{Content, ROW_BYTES, Row};
use crate::control::{CREDENTIALS_OF_A_DEVICE, DeviceRow, NewCredential, NewPsk};
use crate::fleet::{DeviceName, Invalid, Project, PskIdentity, PskSecret, Tag};

/// The columns that every export has, in this order; the identities of further credentials follow.
pub const COLUMNS: [&str; 5] = ["name", "cohort", "tags", "enabled", "identity"];

/// A line of an NDJSON file: what `POST /devices` takes.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DeviceRow)]
pub struct JsonRow {
    name: DeviceName,
    /// Id or name; null: none.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    cohort: Option<Option<String>>,
    #[schema(max_items = 32)]
    tags: Option<Vec<Tag>>,
    enabled: Option<bool>,
    #[schema(value_type = Option<Vec<Credential>>, max_items = 8)]
    credentials: Option<Vec<Object<Credential>>>,
}

impl JsonRow {
    /// The device that a line describes.
    pub fn device(project: &Project, bytes: &[u8]) -> Result<DeviceRow, Problem> {
        let row: JsonRow = parse(bytes)?;
        let cohort = match row.cohort {
            None => None,
            Some(None) => Some(None),
            Some(Some(named)) => Some(Some(cohort_in_body(project, "/cohort", &named)?)),
        };
        let credentials = row.credentials.map(|credentials| {
            let each = credentials.into_iter().enumerate();
            each.map(|(at, Object(one))| one.checked(&format!("/credentials/{at}")))
                .collect::<Result<Vec<_>, _>>()
        });
        Ok(DeviceRow {
            name: row.name,
            cohort,
            tags: row.tags,
            enabled: row.enabled,
            credentials: credentials.transpose()?,
        })
    }
}

/// What the fields of a CSV record are.
pub struct Columns(Vec<(String, Column)>);

/// Which part of a device a column is; credentials are numbered from 0.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Column {
    Name,
    Cohort,
    Tags,
    Enabled,
    Identity(usize),
    Secret(usize),
    SecretHex(usize),
}

impl Columns {
    /// Reads the header. A file with a column that nobody knows, or the same one twice, or none for the name, is refused whole.
    pub fn read(header: Row) -> Result<Self, Problem> {
        let Content::Fields(fields) = header.content else {
            let detail = format!(
                "the first line is longer than {ROW_BYTES} bytes or has too many columns; accepted: a CSV file whose first line \
                 names its columns"
            );
            return Err(Problem::malformed(detail));
        };
        let mut columns: Vec<(String, Column)> = Vec::new();
        let mut errors = Vec::new();
        let wrong = |text: &str, detail: &str| FieldError {
            field: "the header".into(),
            detail: detail.into(),
            value: Some(shortened(text)),
            accepted: Some(format!(
                "name, cohort, tags, enabled, identity, secret, secretHex, and identity2 to identity{CREDENTIALS_OF_A_DEVICE}, \
                 secret2 …, secretHex2 …"
            )),
        };
        // What spreadsheets write where the comma is in the numbers; one field is all that there is then.
        if let [only] = fields.as_slice()
            && let Some(other) = [b';', b'\t'].into_iter().find(|other| only.contains(other))
        {
            let other = if other == b';' { "semicolons" } else { "tabs" };
            return Err(Problem::fields(vec![wrong(
                &String::from_utf8_lossy(only),
                &format!("there are {other} between its names, where a CSV file of devices has commas"),
            )]));
        }
        for field in fields {
            let Ok(text) = String::from_utf8(field.clone()) else {
                errors.push(wrong(
                    &String::from_utf8_lossy(&field),
                    "the column's name is not UTF-8",
                ));
                continue;
            };
            match Column::named(text.trim()) {
                None => errors.push(wrong(&text, "there is no such column")),
                Some(column) if columns.iter().any(|(_, other)| *other == column) => {
                    errors.push(wrong(&text, "the column is there twice"));
                }
                Some(column) => columns.push((text.trim().to_owned(), column)),
            }
        }
        if !columns.iter().any(|(_, column)| *column == Column::Name) {
            errors.push(wrong("", "there is no column `name`"));
        }
        match errors.is_empty() {
            true => Ok(Self(columns)),
            false => Err(Problem::fields(errors)),
        }
    }

    /// The name that a record gives, as far as it can be read.
    pub fn name(&self, fields: &[Vec<u8>]) -> Option<String> {
        let at = self.0.iter().position(|(_, column)| *column == Column::Name);
        let name = at.and_then(|at| fields.get(at));
        name.map(|name| shortened(&String::from_utf8_lossy(name)))
    }

    /// The device that a record describes; all that is wrong with it otherwise.
    pub fn device(&self, project: &Project, fields: &[Vec<u8>]) -> Result<DeviceRow, Problem> {
        if fields.len() != self.0.len() {
            let (has, wants) = (fields.len(), self.0.len());
            let fields = if has == 1 { "field" } else { "fields" };
            let detail = format!("the row has {has} {fields} and the header {wants}");
            return Err(Problem::fields(vec![FieldError::other("the row", detail)]));
        }
        let mut errors = Vec::new();
        let (mut name, mut cohort, mut tags, mut enabled) = (None, None, None, None);
        let mut credentials: [Option<NewPsk>; CREDENTIALS_OF_A_DEVICE] = Default::default();
        for ((title, column), field) in self.0.iter().zip(fields) {
            let Ok(text) = str::from_utf8(field) else {
                errors.push(FieldError {
                    field: title.clone(),
                    detail: "the field is not UTF-8".into(),
                    value: None,
                    accepted: Some("UTF-8".into()),
                });
                continue;
            };
            let mut checked = |result: Result<(), Invalid>| {
                errors.extend(
                    result
                        .err()
                        .map(|invalid| FieldError::invalid(title.clone(), &invalid)),
                );
            };
            match column {
                Column::Name => checked(DeviceName::parse(text).map(|parsed| name = Some(parsed))),
                Column::Tags => {
                    let parts = text.split(';').map(str::trim).filter(|tag| !tag.is_empty());
                    let parsed: Result<Vec<_>, _> = parts.map(Tag::parse).collect();
                    checked(parsed.map(|parsed| tags = Some(parsed)));
                }
                Column::Cohort if text.is_empty() => cohort = Some(None),
                Column::Cohort => match project.require_cohort_named(text) {
                    Ok(found) => cohort = Some(Some(found.id)),
                    Err(refusal) => errors.push(FieldError::refused(title.clone(), &refusal)),
                },
                Column::Enabled => match text {
                    "" => {}
                    "true" => enabled = Some(true),
                    "false" => enabled = Some(false),
                    other => errors.push(FieldError {
                        field: title.clone(),
                        detail: "it is neither true nor false".into(),
                        value: Some(shortened(other)),
                        accepted: Some("true, false, or nothing".into()),
                    }),
                },
                Column::Identity(_) | Column::Secret(_) | Column::SecretHex(_) if text.is_empty() => {}
                Column::Identity(number) => checked(PskIdentity::new(field).map(|identity| {
                    credentials[*number].get_or_insert_default().identity = Some(identity);
                })),
                Column::Secret(number) | Column::SecretHex(number) => {
                    let credential = credentials[*number].get_or_insert_default();
                    if credential.secret.is_some() {
                        let detail = "secret and secretHex are the same thing twice; accepted: one of them";
                        errors.push(FieldError::other(title.clone(), detail));
                        continue;
                    }
                    let secret = match column {
                        Column::SecretHex(_) => PskSecret::from_hex(text),
                        Column::Secret(_)
                        | Column::Name
                        | Column::Cohort
                        | Column::Tags
                        | Column::Enabled
                        | Column::Identity(_) => PskSecret::new(field),
                    };
                    checked(secret.map(|secret| credential.secret = Some(secret)));
                }
            }
        }
        let credentials = credentials.into_iter().flatten();
        let credentials: Vec<_> = credentials.map(NewCredential::Psk).collect();
        match name {
            Some(name) if errors.is_empty() => Ok(DeviceRow {
                name,
                cohort,
                tags,
                enabled,
                credentials: Some(credentials).filter(|credentials| !credentials.is_empty()),
            }),
            Some(_) | None => Err(Problem::fields(errors)),
        }
    }
}

impl Column {
    fn named(text: &str) -> Option<Self> {
        let word = text.trim_end_matches(|character: char| character.is_ascii_digit());
        let number = match &text[word.len()..] {
            "" => 0,
            digits => {
                let number: usize = digits.parse().ok()?;
                number
                    .checked_sub(1)
                    .filter(|at| (1..CREDENTIALS_OF_A_DEVICE).contains(at))?
            }
        };
        match (word, number) {
            ("name", 0) => Some(Self::Name),
            ("cohort", 0) => Some(Self::Cohort),
            ("tags", 0) => Some(Self::Tags),
            ("enabled", 0) => Some(Self::Enabled),
            ("identity", number) => Some(Self::Identity(number)),
            ("secret", number) => Some(Self::Secret(number)),
            ("secretHex", number) => Some(Self::SecretHex(number)),
            _ => None,
        }
    }
}

/// As much of a value as a message repeats.
pub fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}
