//! A gateway in this process, and a browser that is signed in to it.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, header};
use tempfile::TempDir;
use tower::ServiceExt;

use crate::admin::{AdminState, Console, Guard, Reached, Readiness, router};
use crate::control::{Control, Options};
use crate::fleet::{Actor, KeyName, Project, ProjectId, Role};
use crate::store::Store;
use crate::telemetry::install_metrics;

/// A gateway on a folder of its own.
pub struct Desk {
    pub router: Router,
    pub control: Control,
    pub folder: TempDir,
}

/// Small, so that a test can go past it.
pub const LIMIT: usize = 512 * 1024;

impl Desk {
    pub async fn new() -> Desk {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).await.unwrap();
        let options = Options {
            bootstrap_key: Some("a-bootstrap-key-for-tests".to_owned()),
        };
        let control = Control::start(store, options).await.unwrap().control;
        let readiness = Readiness::default();
        readiness.set(true);
        let router = router(AdminState {
            devices_port: Some(15_684),
            guard: Guard::default(),
            reached: Reached::PlainHere,
            console: Console::default(),
            control: control.clone(),
            metrics: install_metrics(),
            metrics_auth: true,
            max_artifact_bytes: LIMIT as u64,
            readiness,
        });
        Desk {
            router,
            control,
            folder,
        }
    }

    /// Somebody with a key of this role.
    pub async fn visitor(&self, role: Role) -> Browser {
        let name = KeyName::parse(&format!("key of a {role}")).unwrap();
        let key = self.control.create_key(&Actor::system(), name, role, None).await;
        let session = self
            .control
            .open_console_session(key.unwrap().key.id)
            .await
            .unwrap();
        Browser {
            router: self.router.clone(),
            csrf: super::super::visitor::csrf(&session.text),
            cookie: format!("tessera_session={}", session.text),
        }
    }

    pub fn project(&self) -> std::sync::Arc<Project> {
        self.control.view().default_project().clone()
    }

    pub fn project_id(&self) -> ProjectId {
        self.project().id
    }

    /// Files below a folder of the data folder.
    pub fn files_below(&self, folder: &str) -> usize {
        let mut folders = vec![self.folder.path().join(folder)];
        let mut files = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    files += 1;
                }
            }
        }
        files
    }
}

/// What a browser holds.
#[derive(Clone)]
pub struct Browser {
    pub router: Router,
    pub csrf: String,
    pub cookie: String,
}

impl Browser {
    pub async fn get(&self, path: &str) -> Shown {
        let request = self.request("GET", path).body(Body::empty()).unwrap();
        self.call(request).await
    }

    /// Sends a form, with its token.
    pub async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Shown {
        let body = form_urlencoded::Serializer::new(String::new())
            .append_pair("csrf", &self.csrf)
            .extend_pairs(fields)
            .finish();
        let request = self
            .request("POST", path)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.call(request.body(Body::from(body)).unwrap()).await
    }

    /// What comes after the redirection of an answer.
    pub async fn follow(&self, shown: &Shown) -> Shown {
        assert_eq!(shown.status, 303, "{}", shown.text);
        let to = shown.headers[header::LOCATION].to_str().unwrap();
        self.get(to.strip_prefix(PROJECT).unwrap()).await
    }

    /// A request below the project.
    pub fn request(&self, method: &str, path: &str) -> axum::http::request::Builder {
        Request::builder()
            .method(method)
            .uri(format!("{PROJECT}{path}"))
            .header(header::COOKIE, &self.cookie)
            .header(header::ACCEPT, "text/html")
    }

    pub async fn call(&self, request: Request<Body>) -> Shown {
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        Shown {
            status: parts.status.as_u16(),
            headers: parts.headers,
            text: String::from_utf8(body.to_vec()).unwrap(),
        }
    }
}

/// What a browser is shown.
pub struct Shown {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Shown {
    /// Holds all of these texts.
    #[track_caller]
    pub fn says(&self, status: u16, texts: &[&str]) -> &Shown {
        assert_eq!(self.status, status, "{}", self.text);
        for text in texts {
            assert!(self.text.contains(text), "no {text:?} in {}", self.text);
        }
        self
    }

    /// Holds none of these texts.
    #[track_caller]
    pub fn says_not(&self, texts: &[&str]) -> &Shown {
        for text in texts {
            assert!(!self.text.contains(text), "{text:?} in {}", self.text);
        }
        self
    }
}

pub const PROJECT: &str = "/projects/default";
