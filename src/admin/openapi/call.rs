//! What is said of a call. What is the same for every call of a kind is said here, once: which errors a body can have, what a
//! list takes, what a `POST` that is sent again is answered.

use std::collections::BTreeMap;

use utoipa::ToSchema;
use utoipa::openapi::content::Content;
use utoipa::openapi::header::Header;
use utoipa::openapi::path::{Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::response::{Response, ResponseBuilder, Responses};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{
    ArrayBuilder, HttpMethod, KnownFormat, Object, ObjectBuilder, Ref, RefOr, Required, Schema, SchemaFormat,
    Type,
};

use super::values::text;
use crate::admin::problem::ProblemDetails;
use crate::fleet::{
    CaName, CohortName, CredentialId, DeploymentId, DeviceName, KeyId, PackageName, ProjectName, Role,
    Version,
};

/// A call, as it is described.
pub struct Call {
    pub method: HttpMethod,
    /// As it is written in [`super::super::router`]; `:verb` of a device behind it.
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    description: Option<&'static str>,
    tag: &'static str,
    access: Access,
    parameters: Vec<Parameter>,
    body: Option<RequestBody>,
    /// Takes an `Idempotency-Key`.
    once: bool,
    /// Asks the store, and may find it broken.
    store: bool,
    /// Changes something, and may find the disk full.
    changes: bool,
    answers: BTreeMap<u16, Response>,
    /// What is particular about errors that others have as well.
    errors: BTreeMap<u16, String>,
    schemas: Vec<(String, RefOr<Schema>)>,
}

/// Who may call.
enum Access {
    /// A key of a project with at least this role.
    Project(Role),
    /// Everybody.
    Open,
    /// A reader, or everybody where the gateway is configured so.
    Configured,
}

impl Call {
    fn new(method: HttpMethod, path: &'static str, id: &'static str, summary: &'static str) -> Self {
        Self {
            changes: method != HttpMethod::Get,
            store: method != HttpMethod::Get,
            once: method == HttpMethod::Post,
            method,
            path,
            id,
            summary,
            description: None,
            tag: "",
            access: Access::Open,
            parameters: Vec::new(),
            body: None,
            answers: BTreeMap::new(),
            errors: BTreeMap::new(),
            schemas: Vec::new(),
        }
    }

    pub fn get(path: &'static str, id: &'static str, summary: &'static str) -> Self {
        Self::new(HttpMethod::Get, path, id, summary)
    }

    pub fn put(path: &'static str, id: &'static str, summary: &'static str) -> Self {
        Self::new(HttpMethod::Put, path, id, summary)
    }

    pub fn post(path: &'static str, id: &'static str, summary: &'static str) -> Self {
        Self::new(HttpMethod::Post, path, id, summary)
    }

    pub fn patch(path: &'static str, id: &'static str, summary: &'static str) -> Self {
        Self::new(HttpMethod::Patch, path, id, summary)
    }

    pub fn delete(path: &'static str, id: &'static str, summary: &'static str) -> Self {
        Self::new(HttpMethod::Delete, path, id, summary)
    }

    /// What it is about.
    pub fn tagged(self, tag: &'static str) -> Self {
        Self { tag, ..self }
    }

    /// More than fits into the summary.
    pub fn explained(self, description: &'static str) -> Self {
        Self {
            description: Some(description),
            ..self
        }
    }

    /// Is below a project, and needs a key of it with this role.
    pub fn needs(self, role: Role) -> Self {
        Self {
            access: Access::Project(role),
            ..self
        }
    }

    /// Needs a key with the role `read`, unless the gateway is configured otherwise.
    pub fn needs_a_key_if_configured(self) -> Self {
        Self {
            access: Access::Configured,
            ..self
        }
    }

    /// Reads from the store.
    pub fn reads_the_store(self) -> Self {
        Self { store: true, ..self }
    }

    /// A `POST` that changes nothing.
    pub fn changes_nothing(self) -> Self {
        Self {
            changes: false,
            ..self
        }
    }

    /// A `POST` without an `Idempotency-Key`.
    pub fn never_once(self) -> Self {
        Self { once: false, ..self }
    }

    /// A query parameter.
    pub fn filter(mut self, name: &str, schema: impl Into<RefOr<Schema>>) -> Self {
        self.parameters
            .push(parameter(ParameterIn::Query, name, schema, Required::False));
        self
    }

    /// A header.
    pub fn header(mut self, name: &str, schema: impl Into<RefOr<Schema>>) -> Self {
        self.parameters
            .push(parameter(ParameterIn::Header, name, schema, Required::False));
        self
    }

    /// A query parameter of the domain.
    pub fn filter_by<T: ToSchema>(mut self, name: &str) -> Self {
        let schema = self.named::<T>();
        self.filter(name, schema)
    }

    /// A JSON body.
    pub fn takes<T: ToSchema>(mut self) -> Self {
        let schema = self.named::<T>();
        self.takes_as("application/json", schema)
    }

    /// A body of this kind.
    pub fn takes_as(mut self, media_type: &str, schema: impl Into<RefOr<Schema>>) -> Self {
        let body = self.body.take().map_or_else(RequestBodyBuilder::new, Into::into);
        let body = body
            .content(media_type, Content::new(Some(schema)))
            .required(Some(Required::True));
        Self {
            body: Some(body.build()),
            ..self
        }
    }

    /// A file of lines of this kind, each of which `T` describes.
    pub fn takes_lines<T: ToSchema>(mut self, media_type: &str, description: &str, example: &str) -> Self {
        self.named::<T>();
        self.takes_as(media_type, text(description).examples([example]))
    }

    /// A JSON answer.
    pub fn answers<T: ToSchema>(mut self, status: u16, description: &str) -> Self {
        let schema = self.named::<T>();
        self.answers_as(status, description, "application/json", schema)
    }

    /// An answer of this kind.
    pub fn answers_as(
        mut self,
        status: u16,
        description: &str,
        media_type: &str,
        schema: impl Into<RefOr<Schema>>,
    ) -> Self {
        let answer = self.answers.remove(&status);
        let answer = answer.map_or_else(|| ResponseBuilder::new().description(description), Into::into);
        let answer = answer.content(media_type, Content::new(Some(schema)));
        self.answers.insert(status, answer.build());
        self
    }

    /// An answer of lines of this kind, each of which `T` describes.
    pub fn answers_lines<T: ToSchema>(
        mut self,
        status: u16,
        description: &str,
        media_type: &str,
        body: &str,
    ) -> Self {
        self.named::<T>();
        self.answers_as(status, description, media_type, text(body))
    }

    /// An answer without a body: 204.
    pub fn answers_nothing(self, description: &str) -> Self {
        self.answers_empty(204, description)
    }

    /// An answer without a body.
    pub fn answers_empty(mut self, status: u16, description: &str) -> Self {
        self.answers.insert(status, Response::new(description));
        self
    }

    /// A header of an answer that was described before.
    pub fn with(mut self, status: u16, name: &str, description: &str) -> Self {
        if let Some(answer) = self.answers.get_mut(&status) {
            answer.headers.insert(name.to_owned(), header(description).into());
        }
        self
    }

    /// A page of a list.
    pub fn lists<T: ToSchema>(mut self) -> Self {
        let item = self.named::<T>();
        let page = ObjectBuilder::new()
            .property("items", ArrayBuilder::new().items(item))
            .required("items")
            .property(
                "nextPageToken",
                text("The `pageToken` of the next page, where there is one."),
            );
        let name = format!("{}Page", T::name());
        self.schemas.push((name.clone(), page.into()));
        self.errors.entry(422).or_default();
        self.filter("limit", limit())
            .filter("pageToken", text("The `nextPageToken` of the page before."))
            .answers_as(
                200,
                "A page of the list.",
                "application/json",
                Ref::from_schema_name(name),
            )
            .with(
                200,
                "Link",
                "The next page, with `rel=\"next\"` (RFC 8288), where there is one.",
            )
    }

    /// An error, with what is particular about it here.
    pub fn refuses(mut self, status: u16, description: &str) -> Self {
        self.errors.insert(status, description.to_owned());
        self
    }

    /// The path, from the root.
    pub fn path(&self) -> String {
        match self.access {
            Access::Project(_) => format!("{}{}", crate::admin::PROJECT, self.path),
            Access::Open | Access::Configured => self.path.to_owned(),
        }
    }

    /// The operation, and the schemas that it refers to.
    pub fn described(mut self) -> (Operation, Vec<(String, RefOr<Schema>)>) {
        let mut parameters = self.path_parameters();
        parameters.append(&mut self.parameters);
        if self.once {
            parameters.push(parameter(
                ParameterIn::Header,
                "Idempotency-Key",
                text("The request is done once within 24 h, however often it is sent, while it is one of the last 4096 of the API key; such as a UUID.")
                    .min_length(Some(1))
                    .max_length(Some(255))
                    .pattern(Some("^[!-~]+$")),
                Required::False,
            ));
        }
        self.common_errors();
        self.named::<ProblemDetails>();
        let mut responses = Responses::new();
        for (status, mut answer) in self.answers {
            if self.once {
                let replayed =
                    "`true` where this is the answer to an earlier request with the same `Idempotency-Key`.";
                answer
                    .headers
                    .insert("Idempotency-Replayed".to_owned(), header(replayed).into());
            }
            responses.responses.insert(status.to_string(), answer.into());
        }
        for (status, description) in self.errors {
            let response = match description.as_str() {
                "" => RefOr::Ref(Ref::from_response_name(common_name(status))),
                particular => problem(status, particular).into(),
            };
            responses.responses.insert(status.to_string(), response);
        }
        let securities = match self.access {
            Access::Project(role) => vec![SecurityRequirement::new(BEARER, [role.as_str()])],
            Access::Open => Vec::new(),
            Access::Configured => vec![
                SecurityRequirement::default(),
                SecurityRequirement::new(BEARER, [Role::Read.as_str()]),
            ],
        };
        let operation = OperationBuilder::new()
            .operation_id(Some(self.id))
            .tag(self.tag)
            .summary(Some(self.summary))
            .description(self.description)
            .parameters(Some(parameters))
            .request_body(self.body)
            .responses(responses)
            .securities(Some(securities))
            .build();
        (operation, self.schemas)
    }

    /// What every call of a kind can be answered.
    fn common_errors(&mut self) {
        let mut also = |statuses: &[u16]| {
            for status in statuses {
                self.errors.entry(*status).or_default();
            }
        };
        also(&[400, 414, 503]);
        match self.access {
            Access::Project(role) => {
                also(&[401, 404, 429]);
                if role > Role::Read {
                    also(&[403]);
                }
            }
            Access::Open => {}
            Access::Configured => also(&[401, 429]),
        }
        if self.body.is_some() {
            also(&[408, 413, 415, 422]);
        }
        if self.once {
            // The key itself, and the body that it is compared by.
            also(&[408, 409, 413, 422]);
        }
        if self.store {
            also(&[500]);
        }
        if self.changes {
            also(&[507]);
        }
        for status in self.answers.keys() {
            self.errors.remove(status);
        }
    }

    fn path_parameters(&mut self) -> Vec<Parameter> {
        let path = self.path();
        let names = path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
        names
            .map(|name| {
                let by_either = Some("Its id or its name.");
                let (schema, description) = match name {
                    "project" => (self.named::<ProjectName>(), None),
                    "package" => (self.named::<PackageName>(), None),
                    "version" => (self.named::<Version>(), None),
                    "cohort" => (self.named::<CohortName>(), by_either),
                    "deployment" => (self.named::<DeploymentId>(), None),
                    "device" => (self.named::<DeviceName>(), by_either),
                    "credential" => (self.named::<CredentialId>(), None),
                    "ca" => (self.named::<CaName>(), by_either),
                    "key" => (self.named::<KeyId>(), None),
                    other => panic!("{other} of {path} is no parameter that is known here"),
                };
                let mut parameter = parameter(ParameterIn::Path, name, schema, Required::True);
                parameter.description = description.map(str::to_owned);
                parameter
            })
            .collect()
    }

    /// A reference to the schema of a type, which goes into the components with all that it refers to.
    fn named<T: ToSchema>(&mut self) -> RefOr<Schema> {
        let name = T::name();
        self.schemas.push((name.clone().into_owned(), T::schema()));
        T::schemas(&mut self.schemas);
        Ref::from_schema_name(name).into()
    }
}

/// Bytes.
pub fn binary(description: &str) -> ObjectBuilder {
    text(description).format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary)))
}

/// Yes or no.
pub fn flag(description: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Boolean)
        .description(Some(description))
}

/// The errors that many calls have in common, by the names under which they are referred to.
pub fn common_responses() -> impl Iterator<Item = (&'static str, Response)> {
    COMMON
        .iter()
        .map(|(status, name, description)| (*name, problem(*status, description)))
}

fn common_name(status: u16) -> &'static str {
    let known = COMMON.iter().find(|(of, ..)| *of == status);
    known.map_or("Problem", |(_, name, _)| name)
}

fn problem(status: u16, description: &str) -> Response {
    let schema = Ref::from_schema_name(ProblemDetails::name());
    let response = ResponseBuilder::new()
        .description(description)
        .content("application/problem+json", Content::new(Some(schema)));
    let response = match status {
        401 => response.header("WWW-Authenticate", header("`Bearer`")),
        405 => response.header("Allow", header("The methods that there are.")),
        429 | 503 => response.header("Retry-After", header("In how many seconds to try again.")),
        _ => response,
    };
    response.build()
}

fn header(description: &str) -> Header {
    let mut header = Header::new(Object::with_type(Type::String));
    header.description = Some(description.to_owned());
    header
}

fn parameter(
    place: ParameterIn,
    name: &str,
    schema: impl Into<RefOr<Schema>>,
    required: Required,
) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(required)
        .schema(Some(schema))
        .build()
}

fn limit() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .description(Some("How many rows at the most."))
        .minimum(Some(1))
        .maximum(Some(crate::admin::body::PAGE_MAX))
        .default(Some(crate::admin::body::PAGE_DEFAULT.into()))
}

/// The name of the one security scheme.
pub const BEARER: &str = "bearer";

/// What a status means wherever nothing particular is said of it.
const COMMON: &[(u16, &str, &str)] = &[
    (
        400,
        "Malformed",
        "The request cannot be read, or has a parameter that is not known here.",
    ),
    (
        401,
        "Unauthenticated",
        "There is no API key, or none that is known.",
    ),
    (403, "Forbidden", "The role of the API key does not allow this."),
    (404, "NotFound", "There is no such thing; `detail` says what."),
    (408, "TooSlow", "The body did not arrive in time."),
    (
        409,
        "SameKey",
        "A request with the same `Idempotency-Key` is under way, or its answer is not kept.",
    ),
    (
        413,
        "TooLarge",
        "The body is larger than is accepted; `limitBytes` says how large it may be.",
    ),
    (414, "AddressTooLong", "The address is too long."),
    (
        415,
        "UnsupportedMediaType",
        "The body is of another kind than is accepted, or compressed.",
    ),
    (
        422,
        "Invalid",
        "A value is not accepted; `errors` says which and why. Or the `Idempotency-Key` was used for another request.",
    ),
    (
        429,
        "TooManyGuesses",
        "Too many wrong API keys came from where this call comes from.",
    ),
    (500, "StoreFailed", "The disk or the database failed."),
    (503, "Unavailable", "The gateway cannot do this at the moment."),
    (507, "DiskFull", "The disk is full; nothing was changed."),
];
