//! What is wrong with a form, as its page says it again: at the field where there is one, above the form otherwise.

use crate::admin::problem::Problem;

/// What is wrong with a form; by default nothing.
#[derive(Debug, Clone, Default)]
pub struct Wrong {
    fields: Vec<(String, String)>,
    /// What is said above the form.
    pub above: Option<String>,
}

impl Wrong {
    /// What a problem says of the fields of a form. What it says of no field is said at `field`, where there is one.
    pub fn of(problem: &Problem, field: Option<&str>) -> Wrong {
        let mut wrong = Wrong::default();
        for error in problem.errors() {
            let mut text = error.detail.clone();
            if let Some(accepted) = &error.accepted {
                text.push_str("; accepted: ");
                text.push_str(accepted);
            }
            wrong
                .fields
                .push((error.field.trim_start_matches('/').to_owned(), text));
        }
        if wrong.fields.is_empty() {
            match field {
                Some(field) => wrong.fields.push((field.to_owned(), problem.detail().to_owned())),
                None => wrong.above = Some(problem.detail().to_owned()),
            }
        }
        wrong
    }

    /// The same for a form that has no other fields than these: whatever is wrong elsewhere is said above it.
    pub fn with_fields(mut self, fields: &[&str]) -> Wrong {
        let (at, above): (Vec<_>, Vec<_>) = self
            .fields
            .into_iter()
            .partition(|(field, _)| fields.contains(&field.as_str()));
        self.fields = at;
        let said = above.into_iter().map(|(field, text)| match field.as_str() {
            "" => text,
            field => format!("{field}: {text}"),
        });
        let said: Vec<String> = self.above.into_iter().chain(said).collect();
        self.above = (!said.is_empty()).then(|| said.join(". "));
        self
    }

    /// What is wrong at a field.
    pub fn at(&self, field: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(name, _)| name == field);
        found.map(|(_, text)| text.as_str())
    }
}
