//! The credentials of a device: one more, so that keys can be rotated, and one less.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};

use super::super::form::{Fields, Form};
use super::super::page::{Notice, Refused};
use super::super::show::visible;
use super::super::wrong::Wrongs;
use super::show::{self, Typed};
use crate::admin::AdminState;
use crate::admin::devices::{Credential, CredentialKind};
use crate::admin::problem::Problem;
use crate::control::{ControlError, NewCredential};
use crate::fleet::{CredentialId, Role};

/// `POST /projects/{project}/devices/{device}/credentials`.
pub async fn add(
    State(state): State<AdminState>,
    Path((_, named)): Path<(String, String)>,
    form: Form,
) -> Result<Response, Refused> {
    let Form { visitor, fields } = form;
    let actor = visitor.may(Role::Deploy)?;
    let record = show::find(&visitor, &state, &named).await?;
    let wrong = match credential(&fields) {
        Err(problem) => Wrongs::of(&problem, &["identity", "secret", "pem", "sha256"]),
        Ok(new) => {
            let added = state
                .control
                .add_credential(&actor, visitor.project, record.device.id, new)
                .await;
            match added {
                Ok(made) => {
                    state
                        .console
                        .keep_made(&visitor, record.device.id, std::slice::from_ref(&made));
                    let text = "Added a credential. Those it had stay good until you retire them.";
                    visitor.notify(&state, Notice::done(text));
                    return Ok(back(&visitor, &record));
                }
                Err(ControlError::Refused(refusal)) => Wrongs::refused(&refusal),
                Err(error) => return Err(error.into()),
            }
        }
    };
    let typed = Typed {
        kind: fields.text("type").to_owned(),
        identity: fields.text("identity").to_owned(),
        pem: fields.text("pem").to_owned(),
        sha256: fields.text("sha256").to_owned(),
        ..Typed::default()
    };
    show::again(
        &visitor,
        &state,
        record,
        typed,
        wrong,
        StatusCode::UNPROCESSABLE_ENTITY,
    )
    .await
}

/// `POST /projects/{project}/devices/{device}/credentials/{credential}/retire`.
pub async fn retire(
    State(state): State<AdminState>,
    Path((_, named, credential)): Path<(String, String, String)>,
    form: Form,
) -> Result<Response, Refused> {
    let visitor = form.visitor;
    let actor = visitor.may(Role::Deploy)?;
    let record = show::find(&visitor, &state, &named).await?;
    let its = |id: &CredentialId| record.credentials.iter().any(|credential| credential.id == *id);
    let Some(id) = credential.parse().ok().filter(its) else {
        let named: String = credential.chars().take(NAMED_CHARS).collect();
        let gone = format!(
            "The credential {:?} is not there any more: it was retired already, or never was this device’s. Nothing was changed.",
            visible(&named)
        );
        let (typed, wrong) = (Typed::default(), Wrongs::at_field("", gone));
        return show::again(&visitor, &state, record, typed, wrong, StatusCode::NOT_FOUND).await;
    };
    state
        .control
        .remove_credential(&actor, visitor.project, record.device.id, id)
        .await?;
    let was_in_use = record
        .session
        .is_some_and(|session| session.credential == Some(id));
    visitor.notify(
        &state,
        Notice::done(match was_in_use {
            true => "Retired the credential; the session that it had opened ends.",
            false => "Retired the credential.",
        }),
    );
    Ok(back(&visitor, &record))
}

fn back(visitor: &super::Visitor, record: &crate::control::DeviceRecord) -> Response {
    Redirect::to(&visitor.path(&format!("/devices/{}", record.device.id))).into_response()
}

/// The pre-shared key that a form describes.
pub fn psk(fields: &Fields) -> Result<NewCredential, Problem> {
    of_kind(fields, CredentialKind::Psk)
}

fn credential(fields: &Fields) -> Result<NewCredential, Problem> {
    let kind = CredentialKind::try_from(fields.text("type").to_owned())
        .map_err(|wrong| Problem::malformed(format!("the form cannot be read: {wrong}")))?;
    of_kind(fields, kind)
}

fn of_kind(fields: &Fields, kind: CredentialKind) -> Result<NewCredential, Problem> {
    let given = |name| fields.given(name).map(str::to_owned);
    let credential = match kind {
        CredentialKind::Psk => Credential {
            identity: given("identity"),
            // White space may be part of a secret: it is taken as it was typed.
            secret: fields.raw("secret").map(str::to_owned),
            ..Credential::of_kind(kind)
        },
        CredentialKind::Certificate => Credential {
            pem: given("pem"),
            sha256: given("sha256"),
            ..Credential::of_kind(kind)
        },
        CredentialKind::RawPublicKey => Credential {
            sha256: given("sha256"),
            ..Credential::of_kind(kind)
        },
    };
    credential.checked("")
}

/// How much of an unknown credential's id a page repeats.
const NAMED_CHARS: usize = 40;
