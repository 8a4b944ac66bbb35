//! `/devices:export`: devices as a file that can be imported again. Secrets are never in it.

use std::io;

use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::AdminState;
use super::auth::{MAY_NOT_STAY, Onlooker};
use super::device_rows::COLUMNS;
use super::devices::Filter;
use super::problem::{FieldError, Problem};
use super::rows::{Format, write_record};
use crate::control::{CREDENTIALS_OF_A_DEVICE, ControlError, DeviceQuery, DeviceRecord};
use crate::fleet::{CohortId, CohortName, Credential, DeviceName, Digest, Project, ProjectId, Proof, Tag};

#[derive(Debug, Deserialize)]
pub struct Form {
    format: Option<String>,
}

/// A line of the NDJSON form, which can be imported again.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExportedDevice {
    name: DeviceName,
    #[schema(required)]
    cohort: Option<CohortName>,
    tags: Vec<Tag>,
    enabled: bool,
    /// Without their secrets. Not those that a CA vouches for, which come by themselves.
    credentials: Vec<Exported>,
}

/// A credential without its secret.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "camelCase")]
#[schema(as = ExportedCredential)]
enum Exported {
    Psk { identity: String },
    Certificate { sha256: Digest },
    RawPublicKey { sha256: Digest },
}

/// A page at a time, as fast as it is read.
pub async fn export(
    State(state): State<AdminState>,
    onlooker: Onlooker,
    Query(form): Query<Form>,
    Query(filter): Query<Filter>,
) -> Result<Response, Problem> {
    let format = match form.format.as_deref() {
        None | Some("csv") => Format::Csv,
        Some("ndjson") => Format::Ndjson,
        Some(other) => {
            return Err(Problem::fields(vec![FieldError {
                field: "format".into(),
                detail: "there is no such format".into(),
                value: Some(other.chars().take(80).collect()),
                accepted: Some("csv or ndjson".into()),
            }]));
        }
    };
    let query = {
        let view = state.control.view();
        filter.query(view.in_project(onlooker.project)?)?
    };
    let query = DeviceQuery {
        limit: DEVICES_AT_ONCE,
        ..query
    };
    let mut first = Vec::new();
    if format == Format::Csv {
        write_record(
            COLUMNS
                .iter()
                .copied()
                .chain(further_identities().iter().map(String::as_str)),
            &mut first,
        );
    }
    let pages = stream::try_unfold((first, Some(query)), move |(mut out, query)| {
        let (state, project) = (state.clone(), onlooker.project);
        let may_stay = onlooker.may_stay(&state);
        async move {
            let Some(query) = query else {
                return Ok(None);
            };
            if !may_stay {
                return Err(io::Error::other(MAY_NOT_STAY));
            }
            let next = page(&state, project, format, query, &mut out).await;
            let next = next.map_err(io::Error::other)?;
            Ok(Some((Bytes::from(out), (Vec::new(), next))))
        }
    });
    let extension = match format {
        Format::Csv => "csv",
        Format::Ndjson => "ndjson",
    };
    let headers = [
        (header::CONTENT_TYPE, format.media_type().to_owned()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"devices.{extension}\""),
        ),
    ];
    Ok((headers, Body::from_stream(pages)).into_response())
}

/// Appends a page, and says how the next one is asked for.
async fn page(
    state: &AdminState,
    project: ProjectId,
    format: Format,
    query: DeviceQuery,
    out: &mut Vec<u8>,
) -> Result<Option<DeviceQuery>, ControlError> {
    let found = state.control.devices(project, &query).await?;
    let view = state.control.view();
    let tenant = view.in_project(project)?;
    for record in &found.devices {
        match format {
            Format::Csv => write_csv(tenant, record, out),
            Format::Ndjson => write_ndjson(tenant, record, out),
        }
    }
    Ok(found.next.map(|next| DeviceQuery {
        after: Some(next),
        ..query
    }))
}

fn write_csv(project: &Project, record: &DeviceRecord, out: &mut Vec<u8>) {
    let device = &record.device;
    let tags: Vec<&str> = device.tags.iter().map(Tag::as_str).collect();
    let mut fields = vec![
        device.name.to_string(),
        cohort_name(project, device.cohort).map_or_else(String::new, ToString::to_string),
        tags.join(";"),
        device.enabled.to_string(),
    ];
    // A column is a PSK's; what else a device has is in the other format.
    let identities = record.credentials.iter().filter_map(Credential::identity);
    fields.extend(identities.map(ToString::to_string));
    // Every record has as many fields as the header.
    fields.resize(COLUMNS.len() + CREDENTIALS_OF_A_DEVICE - 1, String::new());
    write_record(fields.iter().map(String::as_str), out);
}

fn write_ndjson(project: &Project, record: &DeviceRecord, out: &mut Vec<u8>) {
    let device = &record.device;
    // Those that a CA vouches for come by themselves.
    let given = record
        .credentials
        .iter()
        .filter(|credential| credential.is_given());
    let credentials: Vec<_> = given
        .map(|credential| match credential.proof() {
            Proof::Psk(identity) => Exported::Psk {
                identity: identity.to_string(),
            },
            Proof::Certificate(sha256) => Exported::Certificate { sha256 },
            Proof::RawPublicKey(sha256) => Exported::RawPublicKey { sha256 },
        })
        .collect();
    let line = ExportedDevice {
        name: device.name.clone(),
        cohort: cohort_name(project, device.cohort).cloned(),
        tags: device.tags.clone(),
        enabled: device.enabled,
        credentials,
    };
    out.extend_from_slice(json!(line).to_string().as_bytes());
    out.push(b'\n');
}

fn cohort_name(project: &Project, cohort: Option<CohortId>) -> Option<&CohortName> {
    cohort
        .and_then(|id| project.cohort(id))
        .map(|cohort| &cohort.name)
}

/// The columns after [`COLUMNS`]: as many identities as a device can have, so that the header is always the same.
fn further_identities() -> Vec<String> {
    (2..=CREDENTIALS_OF_A_DEVICE)
        .map(|number| format!("identity{number}"))
        .collect()
}

/// Devices read at a time.
const DEVICES_AT_ONCE: usize = 500;
