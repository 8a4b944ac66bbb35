//! What is wrong with a form, as its page says it again: at the field that holds it, beside the fields otherwise.

use crate::admin::problem::{FieldError, Problem};
use crate::fleet::{Kind, NOT_SHOWN, Refusal};

/// What is wrong, by the names of fields; what concerns none of them has an empty one.
#[derive(Debug, Clone, Default)]
pub struct Wrongs(Vec<(String, String)>);

impl Wrongs {
    /// Nothing but this.
    pub fn at_field(field: &str, message: impl Into<String>) -> Wrongs {
        Wrongs(vec![(field.to_owned(), message.into())])
    }

    /// What a problem says. Its fields go by the last name of where they stand; `fields` are those that the form has.
    pub fn of(problem: &Problem, fields: &[&str]) -> Wrongs {
        if problem.errors().is_empty() {
            return Wrongs::at_field("", problem.detail());
        }
        let wrongs = problem.errors().iter().map(|error| {
            let last = error.field.rsplit('/').next().unwrap_or_default();
            // `/tags/1` is the second of the tags.
            let named = match last.parse::<usize>() {
                Ok(_) => error.field.rsplit('/').nth(1).unwrap_or_default(),
                Err(_) => last,
            };
            let field = if fields.contains(&named) { named } else { "" };
            let prefix = if field.is_empty() && !named.is_empty() {
                format!("{named}: ")
            } else {
                String::new()
            };
            (field.to_owned(), format!("{prefix}{}", message(error)))
        });
        Wrongs(wrongs.collect())
    }

    /// The same, but that a problem of no field is said at `field`, where there is one.
    pub fn of_or_at(problem: &Problem, fields: &[&str], field: Option<&str>) -> Wrongs {
        match field {
            Some(field) if problem.errors().is_empty() => Wrongs::at_field(field, problem.detail()),
            Some(_) | None => Wrongs::of(problem, fields),
        }
    }

    /// What a refusal says of a device and its credentials.
    pub fn refused(refusal: &Refusal) -> Wrongs {
        let field = match refusal {
            Refusal::Taken {
                kind: Kind::Device, ..
            } => "name",
            Refusal::IdentityTaken { .. } => "identity",
            // Made of the device's name, where none was given: a given one was looked at before.
            Refusal::Invalid(invalid) if invalid.what == "PSK identity" => "identity",
            Refusal::Taken {
                kind: Kind::Credential,
                ..
            }
            | Refusal::CertificateRevoked { .. } => "sha256",
            Refusal::TooMany { what: "tags", .. } => "tags",
            Refusal::Unknown {
                kind: Kind::Cohort, ..
            } => "cohort",
            Refusal::Taken { .. }
            | Refusal::TooMany { .. }
            | Refusal::Unknown { .. }
            | Refusal::Invalid(_)
            | Refusal::OtherBytes { .. }
            | Refusal::InUse { .. }
            | Refusal::Stale { .. }
            | Refusal::EmptyDeployment
            | Refusal::PackageTwice { .. }
            | Refusal::ManifestTooLarge { .. }
            | Refusal::SequenceExhausted
            | Refusal::SequenceGoesBack(_)
            | Refusal::DeviceDiffers { .. }
            | Refusal::SecretDiffers { .. }
            | Refusal::KeyEnded { .. }
            | Refusal::LastAdminKey { .. } => "",
        };
        Wrongs::at_field(field, refusal.to_string())
    }

    /// What is wrong with this field.
    pub fn at(&self, field: &str) -> Option<&str> {
        let found = self.0.iter().find(|(name, _)| name == field);
        found.map(|(_, message)| message.as_str())
    }

    /// What is wrong beside the fields.
    pub fn besides(&self) -> impl Iterator<Item = &str> {
        let besides = self.0.iter().filter(|(name, _)| name.is_empty());
        besides.map(|(_, message)| message.as_str())
    }

    /// Adds what is wrong elsewhere.
    pub fn and(&mut self, others: Wrongs) {
        self.0.extend(others.0);
    }

    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What is wrong with which value, and what would be accepted.
pub fn message(error: &FieldError) -> String {
    // A file, or what was pasted, is not repeated.
    let short = |value: &&str| {
        (1..=VALUE_BYTES).contains(&value.len()) && !value.contains('\n') && *value != NOT_SHOWN
    };
    let value = error.value.as_deref().filter(short);
    let value = value.map_or_else(String::new, |value| format!(" ({value})"));
    match &error.accepted {
        Some(accepted) => format!("{}{value}; accepted: {accepted}", error.detail),
        None => format!("{}{value}", error.detail),
    }
}

/// A value that is repeated with what is wrong with it: the longest name, and some.
const VALUE_BYTES: usize = 120;

#[cfg(test)]
mod tests {
    use super::Wrongs;
    use crate::admin::problem::{FieldError, Problem};
    use crate::fleet::{DeviceName, Tag};

    #[test]
    fn what_is_wrong_is_said_at_its_field_with_what_is_accepted() {
        let name = DeviceName::parse("a b").expect_err("a space");
        let tag = Tag::parse("a,b").expect_err("a comma");
        let problem = Problem::fields(vec![
            FieldError::invalid("/name", &name),
            FieldError::invalid("/tags/1", &tag),
            FieldError::other("/credentials/0/secret", "it is empty"),
            FieldError::other("limit", "elsewhere"),
        ]);
        let wrongs = Wrongs::of(&problem, &["name", "tags", "secret"]);
        assert!(
            wrongs
                .at("name")
                .is_some_and(|said| said.contains("accepted: 1 to 63"))
        );
        assert!(wrongs.at("tags").is_some_and(|said| said.contains("','")));
        assert_eq!(wrongs.at("secret"), Some("it is empty"));
        assert_eq!(wrongs.besides().collect::<Vec<_>>(), ["limit: elsewhere"]);

        let whole = Problem::malformed("it broke off");
        let wrongs = Wrongs::of_or_at(&whole, &["file"], Some("file"));
        assert_eq!(wrongs.at("file"), Some("it broke off"));
        assert_eq!(wrongs.besides().count(), 0);
        let wrongs = Wrongs::of_or_at(&whole, &["file"], None);
        assert_eq!(wrongs.besides().collect::<Vec<_>>(), ["it broke off"]);
    }

    #[test]
    fn a_value_is_repeated_where_it_is_short() {
        let with = |value: &str| {
            let error = FieldError {
                value: Some(value.to_owned()),
                ..FieldError::other("pem", "it is none")
            };
            let wrongs = Wrongs::of(&Problem::fields(vec![error]), &["pem"]);
            wrongs.at("pem").unwrap_or_default().to_owned()
        };
        assert_eq!(with("x"), "it is none (x)");
        for unsaid in ["", "-----BEGIN\nCERTIFICATE", &"x".repeat(121)] {
            assert_eq!(with(unsaid), "it is none");
        }
    }
}
