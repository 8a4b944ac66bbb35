//! What the buttons of a device's page do. What has consequences for many goes by the page that says which, for one as well.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};

use super::super::form::Form;
use super::super::page::{Notice, Refused};
use super::super::wrong::Wrongs;
use super::show::{self, Typed};
use crate::admin::AdminState;
use crate::admin::problem::{FieldError, Problem};
use crate::control::{ControlError, DevicePatch};
use crate::fleet::{Invalid, Role, Tag};

/// `POST …/devices/{device}/enable`.
pub async fn enable(
    State(state): State<AdminState>,
    Path((_, named)): Path<(String, String)>,
    form: Form,
) -> Result<Response, Refused> {
    let visitor = form.visitor;
    let actor = visitor.may(Role::Deploy)?;
    let device = show::find(&visitor, &state, &named).await?.device;
    let patch = DevicePatch {
        enabled: Some(true),
        ..DevicePatch::default()
    };
    state
        .control
        .update_device(&actor, visitor.project, device.id, patch)
        .await?;
    let text = format!("Enabled {}. It may connect with its next attempt.", device.name);
    visitor.notify(&state, Notice::done(text));
    Ok(to_page(&visitor.path(&format!("/devices/{}", device.id))))
}

/// `POST …/devices/{device}/tags`: one more, or one less.
pub async fn tags(
    State(state): State<AdminState>,
    Path((_, named)): Path<(String, String)>,
    form: Form,
) -> Result<Response, Refused> {
    let Form { visitor, fields } = form;
    let actor = visitor.may(Role::Deploy)?;
    let record = show::find(&visitor, &state, &named).await?;
    let parsed = |text: &str| -> Result<Tag, Wrongs> {
        let invalid = |invalid: Invalid| {
            Wrongs::of(
                &Problem::fields(vec![FieldError::invalid("tags", &invalid)]),
                &["tags"],
            )
        };
        Tag::parse(text).map_err(invalid)
    };
    let patch = match fields.given("remove") {
        Some(text) => parsed(text).map(|tag| DevicePatch {
            remove_tags: vec![tag],
            ..DevicePatch::default()
        }),
        None => parsed(fields.text("add")).map(|tag| DevicePatch {
            add_tags: vec![tag],
            ..DevicePatch::default()
        }),
    };
    let wrong = match patch {
        Err(wrong) => wrong,
        Ok(patch) => {
            let updated = state
                .control
                .update_device(&actor, visitor.project, record.device.id, patch)
                .await;
            match updated {
                Ok(_) => return Ok(to_page(&visitor.path(&format!("/devices/{}", record.device.id)))),
                Err(ControlError::Refused(refusal)) => Wrongs::refused(&refusal),
                Err(error) => return Err(error.into()),
            }
        }
    };
    let typed = Typed {
        tag: fields.text("add").to_owned(),
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

/// `POST …/devices/{device}/push`: the manifest again, now.
pub async fn push(
    State(state): State<AdminState>,
    Path((_, named)): Path<(String, String)>,
    form: Form,
) -> Result<Response, Refused> {
    let visitor = form.visitor;
    let actor = visitor.may(Role::Deploy)?;
    let device = show::find(&visitor, &state, &named).await?.device;
    let online = state.control.push(&actor, visitor.project, device.id).await?;
    let text = match online {
        true => "The manifest goes out once more, if the device observes it.",
        false => "The device is not connected. It gets the manifest when it connects, without being pushed.",
    };
    visitor.notify(&state, Notice::done(text));
    Ok(to_page(&visitor.path(&format!("/devices/{}", device.id))))
}

/// `POST …/devices/{device}/delete`, with its name typed.
pub async fn delete(
    State(state): State<AdminState>,
    Path((_, named)): Path<(String, String)>,
    form: Form,
) -> Result<Response, Refused> {
    let Form { visitor, fields } = form;
    let actor = visitor.may(Role::Deploy)?;
    let record = show::find(&visitor, &state, &named).await?;
    let (name, typed) = (record.device.name.clone(), fields.text("confirm"));
    if typed != name.as_str() {
        let wrong = Wrongs::at_field(
            "confirm",
            format!("this is not the device’s name; nothing was deleted; accepted: {name}"),
        );
        let typed = Typed {
            confirm: typed.to_owned(),
            ..Typed::default()
        };
        return show::again(
            &visitor,
            &state,
            record,
            typed,
            wrong,
            StatusCode::UNPROCESSABLE_ENTITY,
        )
        .await;
    }
    state
        .control
        .delete_device(&actor, visitor.project, record.device.id)
        .await?;
    visitor.notify(
        &state,
        Notice::done(format!("Deleted {name} and all that was known about it.")),
    );
    Ok(to_page(&visitor.path("/devices")))
}

fn to_page(path: &str) -> Response {
    Redirect::to(path).into_response()
}
