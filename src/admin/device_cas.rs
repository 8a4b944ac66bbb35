//! `/device-cas`: the CAs that are believed about the devices of a project.

use axum::extract::{FromRequest, Path, Query, Request, State};
use axum::http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::AdminState;
use super::auth::{Admin, Reader};
use super::body::{Body, Page, not_packed, read};
use super::devices::cohort_in_body;
use super::problem::Problem;
use super::shapes::{self, Answer, Listed, Time};
use crate::fleet::{self, CaCertificate, CaId, CaName, CaOutcome, Digest, NewCa, Project};

/// `POST /device-cas`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = NewDeviceCa)]
pub struct Create {
    /// One certificate, of a CA.
    pem: String,
    /// Absent: as its certificate calls it.
    name: Option<CaName>,
    /// Devices that nobody has named before are created when they come with its certificate.
    #[serde(default)]
    zero_touch: bool,
    /// Id or name of the cohort that they are put in.
    cohort: Option<String>,
}

/// The same as JSON, or the certificate alone, as a PEM file.
#[derive(Debug)]
pub struct Sent(Create);

impl FromRequest<AdminState> for Sent {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &AdminState) -> Result<Self, Problem> {
        let mut kinds = request.headers().get_all(header::CONTENT_TYPE).iter();
        let kind = kinds
            .next()
            .and_then(|kind| kind.to_str().ok())
            .unwrap_or_default();
        let essence = kind.split(';').next().unwrap_or_default().trim();
        let is_pem = PEM_TYPES.iter().any(|pem| essence.eq_ignore_ascii_case(pem));
        if !is_pem || kinds.next().is_some() {
            return Body::from_request(request, state)
                .await
                .map(|Body(body)| Self(body));
        }
        not_packed(request.headers())?;
        let bytes = read(request, state).await?;
        // What is not UTF-8 in it is not PEM, and is told so.
        Ok(Self(Create {
            pem: String::from_utf8_lossy(&bytes).into_owned(),
            name: None,
            zero_touch: false,
            cohort: None,
        }))
    }
}

#[derive(Debug, Deserialize)]
pub struct Filter {
    name: Option<String>,
}

/// A CA that is believed about the devices of a project.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeviceCa {
    id: CaId,
    name: CaName,
    subject: shapes::Subject,
    /// Of its DER.
    sha256: Digest,
    not_before: Time,
    not_after: Time,
    /// Whether devices that nobody has named before are created.
    zero_touch: bool,
    /// Where they are put.
    #[schema(required)]
    cohort: Option<shapes::CohortRef>,
    created_at: Time,
}

/// A CA that is believed no more.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RemovedDeviceCa)]
pub struct Removed {
    id: CaId,
    name: CaName,
    /// How many devices it had vouched for.
    devices: usize,
}

pub async fn create(
    State(state): State<AdminState>,
    admin: Admin,
    Sent(body): Sent,
) -> Result<(StatusCode, Answer<DeviceCa>), Problem> {
    let certificate =
        CaCertificate::from_pem(&body.pem).map_err(|invalid| Problem::invalid("/pem", &invalid))?;
    let view = state.control.view();
    let project = view.in_project(admin.project)?;
    let cohort = body
        .cohort
        .as_deref()
        .map(|named| cohort_in_body(project, "/cohort", named))
        .transpose()?;
    let new = NewCa {
        name: body.name,
        certificate,
        zero_touch: body.zero_touch,
        cohort,
    };
    let outcome = state
        .control
        .add_device_ca(&admin.actor, admin.project, new)
        .await?;
    let (status, ca) = match &outcome {
        CaOutcome::Created(ca) => (StatusCode::CREATED, ca),
        CaOutcome::Existing(ca) => (StatusCode::OK, ca),
    };
    Ok((status, Answer(shape(project, ca))))
}

pub async fn list(
    State(state): State<AdminState>,
    reader: Reader,
    page: Page,
    Query(filter): Query<Filter>,
) -> Result<Listed<DeviceCa>, Problem> {
    let view = state.control.view();
    let project = view.in_project(reader.project)?;
    let wanted = |ca: &fleet::DeviceCa| {
        let name = filter.name.as_deref();
        name.is_none_or(|name| name == ca.name.as_str())
    };
    let cas = view.device_cas_of(reader.project).filter(|ca| wanted(ca));
    let (rows, next) = page.rising(cas, |ca| ca.id)?;
    Ok(Listed::new(
        rows.into_iter().map(|ca| shape(project, ca)).collect(),
        next,
    ))
}

pub async fn show(
    State(state): State<AdminState>,
    reader: Reader,
    Path((_, named)): Path<(String, String)>,
) -> Result<Answer<DeviceCa>, Problem> {
    let view = state.control.view();
    let ca = view.require_device_ca(reader.project, &named)?;
    Ok(Answer(shape(view.in_project(reader.project)?, ca)))
}

/// Says how many devices it had vouched for: they have to come with something else from here on.
pub async fn delete(
    State(state): State<AdminState>,
    admin: Admin,
    Path((_, named)): Path<(String, String)>,
) -> Result<Answer<Removed>, Problem> {
    let id = state.control.view().require_device_ca(admin.project, &named)?.id;
    let removed = state
        .control
        .remove_device_ca(&admin.actor, admin.project, id)
        .await?;
    Ok(Answer(Removed {
        id: removed.ca.id,
        name: removed.ca.name.clone(),
        devices: removed.devices,
    }))
}

fn shape(project: &Project, ca: &fleet::DeviceCa) -> DeviceCa {
    let cohort = ca.cohort.and_then(|id| project.cohort(id));
    DeviceCa {
        id: ca.id,
        name: ca.name.clone(),
        subject: shapes::subject(ca.certificate.subject()),
        sha256: ca.certificate.sha256(),
        not_before: Time(ca.certificate.not_before_s() * 1000),
        not_after: Time(ca.certificate.not_after_s() * 1000),
        zero_touch: ca.zero_touch,
        cohort: cohort.map(|cohort| shapes::cohort_ref(cohort)),
        created_at: Time(ca.created_ms),
    }
}

/// What a PEM file is called: by custom, and by RFC 8555 section 9.1.
const PEM_TYPES: [&str; 2] = ["application/x-pem-file", "application/pem-certificate-chain"];
