//! Uploads: a file on its way to be a version of a package, from a form that works without scripts, or from the script
//! (`assets/upload.js`) that sends the same form and shows how far it is.
//!
//! 1. The script asks [`look`] what the first bytes and the name of a chosen file say, and fills in the version; it can be
//!    changed before it is sent.
//! 2. The form comes with the file last ([`parts`]): names are read and refused before the first byte is stored.
//! 3. A version that is left empty is the one in the image's own header.

use axum::Json;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde_json::{Value, json};

use super::form::Fields;
use super::page::{Notice, Refused};
use super::parts::{self, FileHead, TakeFile};
use super::show::Bytes;
use super::visitor::Visitor;
use super::wrong::Wrongs;
use super::{package, packages};
use crate::admin::AdminState;
use crate::admin::body::announced;
use crate::admin::problem::{FieldError, Problem};
use crate::admin::shapes;
use crate::clock;
use crate::control::ArtifactUpload;
use crate::fleet::{
    Actor, Artifact, ArtifactOutcome, FileNameGuess, IMAGE_HEAD_BYTES, ImageKind, PackageName, Role, Version,
    image_version_differs,
};

/// The form, as a page shows it.
#[derive(Debug)]
pub struct UploadForm {
    /// Where it is sent.
    pub action: String,
    /// Where the script asks what a file is.
    pub look: String,
    /// The package, where the page is one's.
    pub fixed: Option<String>,
    /// Names to choose from, where it is not.
    pub names: Vec<String>,
    /// What was typed.
    pub package: String,
    /// What was typed.
    pub version: String,
    /// The largest file.
    pub limit: u64,
    /// What is wrong.
    pub wrong: Wrongs,
}

impl UploadForm {
    /// A form that makes packages which are missing.
    pub fn to_any(visitor: &Visitor, state: &AdminState, typed: &Typed) -> UploadForm {
        let view = state.control.view();
        let project = view.project(visitor.project);
        let names = project.into_iter().flat_map(|project| project.packages.keys());
        UploadForm {
            action: visitor.path("/uploads"),
            names: names.take(NAMES_OFFERED).map(ToString::to_string).collect(),
            ..UploadForm::empty(visitor, state, typed)
        }
    }

    /// A form for versions of one package.
    pub fn to(package: &PackageName, visitor: &Visitor, state: &AdminState, typed: &Typed) -> UploadForm {
        UploadForm {
            action: visitor.path(&format!("/packages/{package}")),
            fixed: Some(package.to_string()),
            ..UploadForm::empty(visitor, state, typed)
        }
    }

    fn empty(visitor: &Visitor, state: &AdminState, typed: &Typed) -> UploadForm {
        UploadForm {
            action: String::new(),
            look: visitor.path("/uploads/look"),
            fixed: None,
            names: Vec::new(),
            package: typed.package.clone(),
            version: typed.version.clone(),
            limit: state.max_artifact_bytes,
            wrong: typed.wrong.clone(),
        }
    }
}

/// What somebody typed into the form, and what is wrong with it.
#[derive(Debug, Default)]
pub struct Typed {
    package: String,
    version: String,
    wrong: Wrongs,
}

/// `POST /projects/{project}/uploads`: to any package; one that is missing is made.
pub async fn to_any(visitor: Visitor, State(state): State<AdminState>, request: Request) -> Response {
    let json = is_script(request.headers());
    match take(&visitor, &state, None, request).await {
        Ok(Ok(stored)) => answer(&visitor, &state, json, &stored),
        Ok(Err((problem, _))) if json => problem.into_response(),
        Ok(Err((problem, typed))) => {
            let forms = packages::Forms::uploading(typed);
            packages::page_with(problem.status(), &visitor, &state, &Fields::default(), &forms)
                .unwrap_or_else(IntoResponse::into_response)
        }
        Err(refused) => refuse(refused, json),
    }
}

/// `POST /projects/{project}/packages/{package}`: to a package that is there.
pub async fn to_package(
    visitor: Visitor,
    State(state): State<AdminState>,
    Path((_, name)): Path<(String, String)>,
    request: Request,
) -> Response {
    let json = is_script(request.headers());
    let there = {
        let view = state.control.view();
        let project = view.in_project(visitor.project);
        project.and_then(|project| Ok(project.require_package(&name)?.name.clone()))
    };
    let package = match there {
        Ok(package) => package,
        Err(refusal) => return refuse(refusal.into(), json),
    };
    match take(&visitor, &state, Some(&package), request).await {
        Ok(Ok(stored)) => answer(&visitor, &state, json, &stored),
        Ok(Err((problem, _))) if json => problem.into_response(),
        Ok(Err((problem, typed))) => {
            let status = problem.status();
            package::page_with(status, &visitor, &state, &package, &Fields::default(), &typed)
                .unwrap_or_else(IntoResponse::into_response)
        }
        Err(refused) => refuse(refused, json),
    }
}

/// `GET /projects/{project}/uploads/look?file=NAME&head=BASE64URL`: what a file says of itself by its first bytes, and by
/// its name where they say nothing.
pub async fn look(visitor: Visitor, RawQuery(query): RawQuery) -> Result<Json<Value>, Refused> {
    visitor.may(Role::Deploy)?;
    let query = Fields::parse(query.unwrap_or_default().as_bytes());
    let head = data_encoding::BASE64URL_NOPAD
        .decode(query.text("head").as_bytes())
        .map_err(|_| Problem::malformed("head: it is not Base64 in the alphabet for addresses"))?;
    let (kind, image_version) = ImageKind::inspect(&head);
    let guess = FileNameGuess::of(query.text("file"));
    let in_header = image_version
        .as_deref()
        .and_then(|text| Version::parse(text).ok());
    let from = match (&in_header, &guess.version) {
        (Some(_), _) => Some("header"),
        (None, Some(_)) => Some("name"),
        (None, None) => None,
    };
    Ok(Json(json!({
        "type": kind_word(kind),
        "imageVersion": image_version,
        "package": guess.package,
        "version": in_header.or(guess.version),
        "versionFrom": from,
    })))
}

/// An upload that is done.
struct Stored {
    artifact: std::sync::Arc<Artifact>,
    before: bool,
}

impl Stored {
    fn sentence(&self) -> String {
        let Artifact {
            package,
            version,
            digest,
            size,
            kind,
            image_version,
            ..
        } = &*self.artifact;
        if self.before {
            return format!(
                "{package}@{version} was there already with the same bytes (SHA-256 {digest}); nothing was changed."
            );
        }
        let says = image_version
            .as_deref()
            .map_or_else(String::new, |says| format!(" that says {says}"));
        format!(
            "Stored {package}@{version}: {}, {}{says}, SHA-256 {digest}.",
            Bytes(size.get()),
            kind_word(*kind)
        )
    }

    fn warning(&self) -> Option<String> {
        let artifact = &self.artifact;
        let differs = image_version_differs(
            &artifact.package,
            &artifact.version,
            artifact.image_version.as_deref(),
        );
        differs.map(|finding| finding.message)
    }
}

async fn take(
    visitor: &Visitor,
    state: &AdminState,
    package: Option<&PackageName>,
    request: Request,
) -> Result<Result<Stored, (Problem, Typed)>, Refused> {
    let actor = visitor.may(Role::Deploy)?;
    let mut fields = Fields::default();
    let mut taker = Taker {
        state,
        actor: &actor,
        package: package.cloned(),
        version: None,
        head: Vec::new(),
        upload: None,
    };
    let known: &[&str] = match package {
        Some(_) => &["version"],
        None => &["package", "version"],
    };
    let limit = state.max_artifact_bytes;
    let done = if announced(request.headers()).is_some_and(|bytes| bytes > limit.saturating_add(FORM_BYTES)) {
        Err(Problem::artifact_too_large(limit))
    } else {
        match parts::read(visitor, state, request, known, &mut fields, &mut taker).await? {
            Ok(()) => taker.finish(visitor, package.is_none()).await,
            Err(problem) => Err(problem),
        }
    };
    Ok(done.map_err(|problem| {
        let field = match problem.status() {
            StatusCode::CONFLICT => Some("version"),
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => Some("file"),
            // What the form is not to blame for.
            _ => None,
        };
        let wrong = Wrongs::of_or_at(&problem, &["package", "version", "file"], field);
        let typed = Typed {
            package: fields.text("package").to_owned(),
            version: fields.text("version").to_owned(),
            wrong,
        };
        (problem, typed)
    }))
}

/// Takes the file. Dropped before the end, it leaves nothing behind.
struct Taker<'a> {
    state: &'a AdminState,
    actor: &'a Actor,
    package: Option<PackageName>,
    /// `None` while it is to be read from the image.
    version: Option<Version>,
    /// The first bytes, while the version is not known.
    head: Vec<u8>,
    upload: Option<ArtifactUpload>,
}

impl TakeFile for Taker<'_> {
    async fn begin(&mut self, _: FileHead, fields: &Fields) -> Result<(), Problem> {
        let mut errors = Vec::new();
        if self.package.is_none() {
            match PackageName::parse(fields.text("package")) {
                Ok(package) => self.package = Some(package),
                Err(invalid) => errors.push(FieldError::invalid("package", &invalid)),
            }
        }
        match fields.given("version").map(Version::parse).transpose() {
            Ok(version) => self.version = version,
            Err(invalid) => errors.push(FieldError::invalid("version", &invalid)),
        }
        if !errors.is_empty() {
            return Err(Problem::fields(errors));
        }
        let limit = self.state.max_artifact_bytes;
        self.upload = Some(self.state.control.begin_upload(self.actor, limit).await?);
        Ok(())
    }

    async fn piece(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        // For whoever may not upload any more nothing more is written.
        self.state.control.view().allows(self.actor, clock::unix_ms())?;
        if self.version.is_none() {
            let wanted = IMAGE_HEAD_BYTES.saturating_sub(self.head.len());
            self.head.extend_from_slice(&bytes[..wanted.min(bytes.len())]);
            if self.head.len() >= IMAGE_HEAD_BYTES {
                self.version = Some(version_in(&self.head)?);
            }
        }
        match &mut self.upload {
            Some(upload) => Ok(upload.write(bytes).await?),
            None => Ok(()),
        }
    }
}

impl Taker<'_> {
    async fn finish(self, visitor: &Visitor, make_package: bool) -> Result<Stored, Problem> {
        let (Some(package), Some(upload)) = (self.package, self.upload) else {
            return Err(Problem::fields(vec![FieldError {
                field: "file".into(),
                detail: "no file was chosen".into(),
                value: None,
                accepted: Some("the image that devices are to run or store".into()),
            }]));
        };
        let version = match self.version {
            Some(version) => version,
            None if upload.is_empty() => return Err(Problem::from(crate::control::UploadError::Empty)),
            None => version_in(&self.head)?,
        };
        let (control, actor) = (&self.state.control, self.actor);
        let project = visitor.project;
        let outcome = if make_package {
            control
                .add_artifact_and_package(actor, project, package, version, upload, None)
                .await?
        } else {
            control
                .add_artifact(actor, project, package, version, upload, None)
                .await?
        };
        Ok(match outcome {
            ArtifactOutcome::Added(artifact) => Stored {
                artifact,
                before: false,
            },
            ArtifactOutcome::Same(artifact) => Stored {
                artifact,
                before: true,
            },
        })
    }
}

/// The version that an image says it is.
fn version_in(head: &[u8]) -> Result<Version, Problem> {
    let wrong = |detail: &str, value: Option<String>| {
        Problem::fields(vec![FieldError {
            field: "version".into(),
            detail: detail.into(),
            value,
            accepted: Some("the version, typed in".into()),
        }])
    };
    let (_, image_version) = ImageKind::inspect(head);
    let said = image_version.ok_or_else(|| {
        wrong(
            "none was given, and the file says none in a header of its own",
            None,
        )
    })?;
    Version::parse(&said).map_err(|invalid| {
        let detail = format!(
            "none was given, and the {said:?} in the file's own header is none: it {}",
            invalid.wrong
        );
        wrong(&detail, Some(said))
    })
}

fn answer(visitor: &Visitor, state: &AdminState, json: bool, stored: &Stored) -> Response {
    let href = visitor.path(&format!("/packages/{}", stored.artifact.package));
    if json {
        let shape = json!({
            "artifact": shapes::artifact(&stored.artifact),
            "said": stored.sentence(),
            "warning": stored.warning(),
            "href": href,
        });
        let status = if stored.before {
            StatusCode::OK
        } else {
            StatusCode::CREATED
        };
        return (status, Json(shape)).into_response();
    }
    visitor.notify(state, Notice::done(stored.sentence()));
    if let Some(warning) = stored.warning() {
        visitor.notify(state, Notice::wrong(format!("{warning}.")));
    }
    Redirect::to(&href).into_response()
}

fn refuse(refused: Refused, json: bool) -> Response {
    match refused {
        Refused::Problem(problem) if json => problem.into_response(),
        refused => refused.into_response(),
    }
}

/// Whether the script asks, which wants the answer and no page.
fn is_script(headers: &HeaderMap) -> bool {
    let accepted = headers
        .get(header::ACCEPT)
        .and_then(|accepted| accepted.to_str().ok());
    accepted.is_some_and(|accepted| accepted.starts_with("application/json"))
}

/// What a kind of image is called.
pub fn kind_word(kind: ImageKind) -> &'static str {
    match kind {
        ImageKind::McuBoot => "MCUboot image",
        ImageKind::EspIdf => "ESP-IDF image",
        ImageKind::Plain => "plain bytes",
    }
}

/// What a form is larger than its file by, at the most: its fields, and what stands around them.
const FORM_BYTES: u64 = 256 * 1024;
/// Packages that are offered by name; the rest can be typed.
const NAMES_OFFERED: usize = 200;
