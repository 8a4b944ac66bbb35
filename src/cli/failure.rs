//! What ends a command early, and its exit code.

use std::error::Error;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;

use crate::config::ConfigErrors;

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The arguments make no sense together, or a value is wrong.
    #[error("{0}")]
    Usage(String),
    /// The configuration has mistakes.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// Something named does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The server refused.
    #[error("{}", .0.summary())]
    Refused(Box<Problem>),
    /// The server did not answer.
    #[error("{url} does not answer; is `tessera serve` running there? (--url, TESSERA_URL)")]
    Unreachable {
        /// The server's URL.
        url: String,
        /// What the HTTP client says.
        source: Box<ureq::Error>,
    },
    /// The server is not known to be the one that it should be.
    #[error("the certificate of {url} is not trusted: {wrong}")]
    Untrusted {
        /// The server's URL.
        url: String,
        /// What is wrong with it, and what would be accepted.
        wrong: String,
    },
    /// TLS was asked for where there is none.
    #[error(
        "{url} does not speak TLS; accepted, if that is meant: http:// in its address (--url, TESSERA_URL)"
    )]
    Plain {
        /// The server's URL.
        url: String,
    },
    /// The server's answer makes no sense.
    #[error("the answer of {url} is not one of Tessera's: {what}")]
    Strange {
        /// The URL that was called.
        url: String,
        /// What is strange.
        what: String,
        /// The HTTP status that came with it.
        status: u16,
    },
    /// A file cannot be read.
    #[error("{} cannot be read", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A command of several parts failed in one of them.
    #[error("{0}")]
    Failed(String),
    /// A rollout failed, by what devices say or by the time that it took.
    #[error("{0}")]
    Rollout(String),
    /// Somebody else's deployment came in between.
    #[error("{0}")]
    Superseded(String),
    /// The server could not start, or stopped.
    #[error(transparent)]
    Program(Box<dyn Error + Send + Sync>),
}

/// RFC 9457's problem details, as the server sends them.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Problem {
    /// The HTTP status.
    #[serde(default)]
    pub status: u16,
    /// What kind of problem it is, for programs.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// What kind of problem it is, for people.
    #[serde(default)]
    pub title: String,
    /// What went wrong this time.
    #[serde(default)]
    pub detail: String,
    /// What is wrong with which field.
    #[serde(default)]
    pub errors: Vec<FieldProblem>,
}

/// One field's part of a problem.
#[derive(Debug, Clone, Deserialize)]
pub struct FieldProblem {
    /// The field: `artifacts[0].version`.
    #[serde(default)]
    pub field: String,
    /// What is wrong with it.
    #[serde(default)]
    pub detail: String,
    /// The value that was given, where it is no secret.
    pub value: Option<Value>,
    /// What would be accepted.
    pub accepted: Option<String>,
}

impl Problem {
    /// What is wrong, and each field of it that says more.
    pub fn summary(&self) -> String {
        let mut text = match (self.title.as_str(), self.detail.as_str()) {
            (title, "") => title.to_owned(),
            ("", detail) => detail.to_owned(),
            // The title says that there is no such thing, perhaps in a body that whoever typed the name knows nothing of. The
            // detail says what there is not, and what there is.
            (_, detail) if [NOT_FOUND, UNKNOWN_REFERENCE].contains(&self.kind.as_str()) => detail.to_owned(),
            (title, detail) => format!("{title}: {detail}"),
        };
        for error in self.errors.iter().filter(|error| error.adds_to(&self.detail)) {
            text.push_str(&format!("\n  {}", error.field));
            if let Some(value) = &error.value {
                text.push_str(&format!(" = {value}"));
            }
            text.push_str(&format!(": {}", error.detail));
            if let Some(accepted) = &error.accepted {
                text.push_str(&format!("; accepted: {accepted}"));
            }
        }
        text
    }
}

impl FieldProblem {
    /// Whether it says something that the problem's `detail` does not: what is wrong, or what would be accepted. A
    /// detail that quotes the value has said in its own words what is wrong with it.
    fn adds_to(&self, detail: &str) -> bool {
        let quoted = match &self.value {
            Some(Value::String(text)) => detail.contains(&format!("{text:?}")),
            Some(_) | None => false,
        };
        let wrong_is_said = quoted || detail.contains(&self.detail);
        let accepted_is_said = self
            .accepted
            .as_ref()
            .is_none_or(|accepted| detail.contains(accepted));
        !(wrong_is_said && accepted_is_said)
    }
}

impl Failure {
    /// What a started program reports.
    pub fn program(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Program(Box::new(error))
    }

    /// Whether the same may be answered in a while: nobody is there, or somebody says that it cannot be done right now.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused(problem) => problem.status == 429 || problem.status >= 500,
            // What stands before a gateway that is being started answers in its place.
            Self::Strange { status, .. } => *status >= 500,
            Self::Usage(_)
            | Self::Config(_)
            | Self::NotFound(_)
            | Self::Untrusted { .. }
            | Self::Plain { .. }
            | Self::File { .. }
            | Self::Failed(_)
            | Self::Rollout(_)
            | Self::Superseded(_)
            | Self::Program(_) => false,
        }
    }

    /// 1 failure, 2 usage, 3 not found, 4 not allowed, 5 conflict, 6 rollout failed.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Config(_) => 2,
            Self::NotFound(_) => 3,
            // The body names something that does not exist: to whoever typed the name, the same as in an address.
            Self::Refused(problem) if problem.kind == UNKNOWN_REFERENCE => 3,
            Self::Refused(problem) => match problem.status {
                400 | 405 | 415 | 422 => 2,
                404 => 3,
                401 | 403 => 4,
                409 => 5,
                _ => 1,
            },
            Self::Superseded(_) => 5,
            Self::Rollout(_) => 6,
            Self::Unreachable { .. }
            | Self::Untrusted { .. }
            | Self::Plain { .. }
            | Self::Strange { .. }
            | Self::File { .. }
            | Self::Failed(_)
            | Self::Program(_) => 1,
        }
    }

    /// The message and, a line each, what caused it.
    pub fn to_text(&self) -> String {
        let mut text = format!("error: {self}");
        let mut said = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let message = error.to_string();
            // A transparent layer repeats what it wraps.
            if !said.contains(&message) {
                text.push_str(&format!("\n  because: {message}"));
                said = message;
            }
            cause = error.source();
        }
        text
    }
}

/// The type of the problem of an address that leads nowhere.
const NOT_FOUND: &str = "urn:tessera:problem:not-found";
/// The type of the problem of a body that names a cohort or an artifact that does not exist.
const UNKNOWN_REFERENCE: &str = "urn:tessera:problem:unknown-reference";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_shows_its_title_its_detail_and_each_field_that_adds_something() {
        let problem = Problem {
            status: 422,
            kind: "urn:tessera:problem:invalid-value".to_owned(),
            title: "Invalid value".to_owned(),
            detail: "two fields are wrong".to_owned(),
            errors: vec![
                FieldProblem {
                    field: "name".to_owned(),
                    detail: "is empty".to_owned(),
                    value: None,
                    accepted: None,
                },
                FieldProblem {
                    field: "tags[1]".to_owned(),
                    detail: "has a space".to_owned(),
                    value: Some("a b".into()),
                    accepted: Some("no space".to_owned()),
                },
            ],
        };
        let failure = Failure::Refused(Box::new(problem));
        assert_eq!(
            failure.to_text(),
            "error: Invalid value: two fields are wrong\n  name: is empty\n  tags[1] = \"a b\": has a space; accepted: no space"
        );
        assert_eq!(failure.exit_code(), 2);
    }

    #[test]
    fn a_field_that_the_detail_has_told_all_about_is_not_repeated() {
        let mut problem = Problem {
            title: "Invalid value".to_owned(),
            detail: "version \"1 0\" contains ' '; accepted: letters and digits".to_owned(),
            errors: vec![FieldProblem {
                field: "version".to_owned(),
                detail: "the version contains ' '".to_owned(),
                value: Some("1 0".into()),
                accepted: Some("letters and digits".to_owned()),
            }],
            ..Problem::default()
        };
        assert_eq!(
            problem.summary(),
            "Invalid value: version \"1 0\" contains ' '; accepted: letters and digits"
        );
        problem.errors[0].accepted = Some("at most 3 characters".to_owned());
        assert!(
            problem.summary().ends_with("; accepted: at most 3 characters"),
            "{}",
            problem.summary()
        );
    }

    #[test]
    fn a_name_in_the_body_that_nothing_has_is_not_found() {
        let body = r#"{"type": "urn:tessera:problem:unknown-reference", "status": 422,
            "title": "The body names something that does not exist", "detail": "there is no package \"a\""}"#;
        let problem: Problem = serde_json::from_str(body).expect("a problem");
        let failure = Failure::Refused(Box::new(problem));
        assert_eq!(failure.exit_code(), 3);
        assert_eq!(failure.to_text(), "error: there is no package \"a\"");
    }

    #[test]
    fn what_may_pass_is_told_from_what_will_not() {
        let refused = |status| {
            Failure::Refused(Box::new(Problem {
                status,
                ..Problem::default()
            }))
        };
        let strange = |status| Failure::Strange {
            url: "http://127.0.0.1".to_owned(),
            what: "a page".to_owned(),
            status,
        };
        for passing in [refused(429), refused(503), refused(507), strange(502)] {
            assert!(passing.may_pass(), "{passing:?}");
        }
        for lasting in [refused(401), refused(404), strange(200), strange(404)] {
            assert!(!lasting.may_pass(), "{lasting:?}");
        }
    }

    #[test]
    fn a_rollout_that_failed_and_one_that_was_superseded_have_exit_codes_of_their_own() {
        assert_eq!(Failure::Rollout("2 of 3 failed".to_owned()).exit_code(), 6);
        assert_eq!(Failure::Superseded("by another".to_owned()).exit_code(), 5);
    }

    #[test]
    fn exit_codes_follow_the_status() {
        for (status, code) in [
            (400, 2),
            (401, 4),
            (403, 4),
            (404, 3),
            (409, 5),
            (413, 1),
            (503, 1),
        ] {
            let problem = Problem {
                status,
                ..Problem::default()
            };
            assert_eq!(Failure::Refused(Box::new(problem)).exit_code(), code, "{status}");
        }
    }
}
