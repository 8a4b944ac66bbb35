use std::fmt::{self, Write};
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::Given;
use crate::fleet::ArtifactOutcome;

/// On one thread, so that the writer is heard too.
#[tokio::test]
async fn what_was_committed_is_a_line_of_the_log_and_what_was_refused_is_none() {
    let lines = Lines::of(Level::INFO);
    // Where only one subscriber is alive, a line that another test's thread comes to first is cached as wanted by nobody:
    // tracing-core asks the subscriber of that thread alone, which has none.
    let _second = tracing::Dispatch::new(lines.clone());
    let _heard = tracing::subscriber::set_default(lines.clone());
    let given = Given::new().await;
    given.package("main").await;
    let ArtifactOutcome::Added(artifact) = given.upload("main", "1.0", b"bytes").await.unwrap() else {
        panic!()
    };
    given.upload("main", "1.0", b"bytes").await.unwrap();
    given.upload("main", "1.0", b"other bytes").await.unwrap_err();
    let cohort = given.cohort("lamps").await;
    let deployment = given.deploy(cohort, "first", &["main@1.0"]).await.unwrap();
    given.deploy(cohort, "second", &["main@7"]).await.unwrap_err();

    let (artifact_id, digest) = (artifact.id, artifact.digest);
    let (id, author) = (deployment.id, &deployment.author);
    assert_eq!(
        *lines.0.lock().unwrap(),
        [
            format!(
                " message=artifact stored artifact={artifact_id} package=main version=1.0 bytes=5 sha256={digest} \
                 author={author}"
            ),
            format!(
                " message=deployment made deployment={id} name=first cohort={cohort} sequence=1 author={author:?}"
            ),
        ]
    );
}

/// The lines of one level of this module.
#[derive(Clone)]
pub struct Lines(pub Arc<Mutex<Vec<String>>>, Level);

impl Lines {
    pub fn of(level: Level) -> Self {
        Self(Arc::default(), level)
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == self.1 && metadata.target().starts_with("tessera::control")
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}
