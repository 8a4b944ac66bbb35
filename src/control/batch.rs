//! A batch: what the writer decides and commits at once.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::oneshot;
use tracing::info;

use super::change::Change;
use super::directory::Directory;
use super::error::ControlError;
use super::failures::FailedDevice;
use super::once;
use super::view::View;
use crate::clock;
use crate::fleet::{
    Actor, Artifact, CredentialId, Deployment, Device, DeviceId, Digest, Moment, ProjectId, PskIdentity,
    Refusal, TimelineEvent,
};
use crate::store::{AuditRow, OnceKey, Reserve, Store, StoreError, WriteTransaction};
use crate::telemetry::GatewayEvent;

/// A command, as the writer sees it.
///
/// A decision that refuses must not have written before: the rest of the batch is committed.
pub trait Decision: Send + 'static {
    /// What the command is answered.
    type Answer: Send + 'static;

    /// Who orders it: by leave of a key that is looked at again before the decision. `None` where nobody does.
    fn actor(&self) -> Option<&Actor>;

    /// Whether it has to be possible on a full disk: it ends something, makes room, or lets somebody in to do so.
    fn is_vital(&self) -> bool {
        false
    }

    /// Decides and writes.
    fn decide(self, batch: &mut Batch) -> impl Future<Output = Result<Self::Answer, Stop>> + Send;
}

/// Why a decision stopped.
#[derive(Debug)]
pub enum Stop {
    /// The rules say no; the batch goes on.
    Refused(Refusal),
    /// The store failed for this command alone, which has left nothing in the batch; the batch goes on.
    FailedAlone(StoreError),
    /// The store failed; the batch fails.
    Failed(StoreError),
}

impl<R: Into<Refusal>> From<R> for Stop {
    fn from(refusal: R) -> Self {
        Self::Refused(refusal.into())
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

/// What decisions read and write. Nothing of it is visible before the commit.
pub struct Batch {
    /// The transaction.
    pub tx: WriteTransaction,
    /// The store, for bytes.
    pub store: Store,
    /// When the batch was begun, in milliseconds of Unix time.
    pub at_ms: i64,
    directory: Arc<Directory>,
    view: Arc<View>,
    /// The devices that were changed, newest last.
    pub devices: Vec<Device>,
    /// The devices that were made.
    pub created: Vec<DeviceId>,
    /// To be published after the commit.
    pub changes: Vec<Change>,
    /// Identities that are no longer valid, and whose they were.
    pub retired: Vec<(PskIdentity, FailedDevice)>,
    /// To be counted after the commit.
    pub events: Vec<GatewayEvent>,
    /// To be logged after the commit.
    pub done: Vec<Done>,
    /// Bytes that lost a name: to be removed after the commit, unless something else names them.
    pub unnamed: Vec<Digest>,
    audit: Vec<AuditRow>,
    /// To be added to the timelines of devices, in the same commit.
    pub moments: Vec<Moment>,
}

impl Batch {
    /// Begins a batch on top of the published view.
    ///
    /// # Errors
    /// The store fails.
    pub async fn begin(
        store: &Store,
        directory: &Arc<Directory>,
        view: Arc<View>,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            tx: store.begin().await?,
            store: store.clone(),
            at_ms: clock::unix_ms(),
            directory: Arc::clone(directory),
            view,
            devices: Vec::new(),
            created: Vec::new(),
            changes: Vec::new(),
            retired: Vec::new(),
            events: Vec::new(),
            done: Vec::new(),
            unnamed: Vec::new(),
            audit: Vec::new(),
            moments: Vec::new(),
        })
    }

    /// The state with the batch's own changes.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// The state, to be changed. The published one is not touched.
    pub fn view_mut(&mut self) -> &mut View {
        Arc::make_mut(&mut self.view)
    }

    /// Whether the key is good by whose leave somebody orders.
    fn allows(&self, actor: &Actor) -> Result<(), Refusal> {
        self.view.allows(actor, self.at_ms)
    }

    /// The highest sequence number that some devices were ever sent: what is on disk, and what the shards have sent since.
    ///
    /// # Errors
    /// The database fails.
    pub async fn highest_sent(&mut self, devices: &[DeviceId]) -> Result<HashMap<DeviceId, u32>, StoreError> {
        let mut sent = self.tx.highest_sent(devices).await?;
        for &id in devices {
            if let Some(entry) = self.directory.get(id) {
                let highest = sent.entry(id).or_default();
                *highest = entry.manifest_sent().max(*highest);
            }
        }
        Ok(sent)
    }

    /// The credential that a device is connected with.
    pub fn credential_in_use(&self, device: DeviceId) -> Option<CredentialId> {
        self.directory.get(device)?.session()?.credential
    }

    /// Notes who did what.
    pub fn audit(
        &mut self,
        actor: &Actor,
        project: Option<ProjectId>,
        action: &'static str,
        subject: impl ToString,
        change: BeforeAfter,
    ) {
        debug_assert!(AUDIT_ACTIONS.contains(&action), "{action} is not in the list");
        self.audit.push(AuditRow {
            project,
            at_ms: self.at_ms,
            actor: actor.to_string(),
            action,
            subject: subject.to_string(),
            before: change.before,
            after: change.after,
        });
    }

    /// Adds to the timeline of a device.
    pub fn happened(&mut self, device: DeviceId, event: TimelineEvent) {
        self.moments.push(Moment {
            device,
            at_ms: self.at_ms,
            event,
        });
    }

    /// Makes all of it durable.
    ///
    /// # Errors
    /// The store fails; nothing was kept then.
    pub async fn commit(mut self, published: &View) -> Result<Committed, StoreError> {
        let audited = self.tx.insert_audit(&self.audit).await?;
        // In the order of time, whichever queue it came through.
        self.moments.sort_by_key(|moment| moment.at_ms);
        self.tx.append_timeline(&self.moments).await?;
        if self.view.next_id() != published.next_id() {
            self.tx.set_next_id(self.view.next_id()).await?;
        }
        self.tx.commit().await?;
        Ok(Committed {
            view: self.view,
            audited,
            devices: self.devices,
            created: self.created,
            changes: self.changes,
            retired: self.retired,
            events: self.events,
            done: self.done,
            unnamed: self.unnamed,
        })
    }
}

/// What is left to do after a commit.
pub struct Committed {
    /// The view to publish.
    pub view: Arc<View>,
    /// The number of the last line of the audit, if there was one.
    pub audited: Option<i64>,
    /// The devices that were changed, newest last.
    pub devices: Vec<Device>,
    /// The devices that were made.
    pub created: Vec<DeviceId>,
    /// To be published.
    pub changes: Vec<Change>,
    /// Identities that are no longer valid.
    pub retired: Vec<(PskIdentity, FailedDevice)>,
    /// To be counted.
    pub events: Vec<GatewayEvent>,
    /// To be logged.
    pub done: Vec<Done>,
    /// Bytes that lost a name.
    pub unnamed: Vec<Digest>,
}

/// What an operator would put in a report.
pub enum Done {
    /// A deployment was made.
    Deployed(Arc<Deployment>),
    /// An artifact was stored.
    Stored {
        /// The artifact.
        artifact: Arc<Artifact>,
        /// Who brought it.
        author: Actor,
    },
}

impl Done {
    /// Writes its line.
    pub fn log(&self) {
        match self {
            Self::Deployed(made) => info!(
                deployment = %made.id,
                name = %made.name,
                cohort = %made.cohort,
                sequence = made.sequence.get(),
                author = made.author,
                "deployment made"
            ),
            Self::Stored { artifact, author } => info!(
                artifact = %artifact.id,
                package = %artifact.package,
                version = %artifact.version,
                bytes = artifact.size.get(),
                sha256 = %artifact.digest,
                %author,
                "artifact stored"
            ),
        }
    }
}

/// What something was before a change, and after it.
#[derive(Debug, Default)]
pub struct BeforeAfter {
    before: Option<Value>,
    after: Option<Value>,
}

impl BeforeAfter {
    /// It was not there before.
    pub fn created(after: Value) -> Self {
        Self {
            before: None,
            after: Some(after),
        }
    }

    /// It is not there any more.
    pub fn deleted(before: Value) -> Self {
        Self {
            before: Some(before),
            after: None,
        }
    }

    /// It was something else before.
    pub fn changed(before: Value, after: Value) -> Self {
        Self {
            before: Some(before),
            after: Some(after),
        }
    }
}

/// Every action that the audit tells of.
pub const AUDIT_ACTIONS: [&str; 20] = [
    "package.create",
    "package.delete",
    "artifact.create",
    "artifact.delete",
    "cohort.create",
    "cohort.delete",
    "deployment.create",
    "device.create",
    "device.update",
    "device.push",
    "device.delete",
    "credential.create",
    "credential.delete",
    "credential.forget",
    "device-ca.create",
    "device-ca.delete",
    "key.create",
    "key.revoke",
    "session.open",
    "session.close",
];

/// A command in the queue, whatever its answer is.
pub trait Job: Send {
    /// As the decision's.
    fn is_vital(&self) -> bool;

    /// Decides; the outcome stays in the job until the commit.
    fn decide<'a>(
        &'a mut self,
        batch: &'a mut Batch,
    ) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send + 'a>>;

    /// Answers, after the commit or because there will be none.
    fn answer(self: Box<Self>, end: Result<(), ControlError>);
}

/// A command that waits for its decision or its commit.
pub struct Command<D: Decision> {
    decision: Option<D>,
    /// The request that this carries out, where it names itself.
    once: Option<OnceKey>,
    outcome: Option<Result<D::Answer, ControlError>>,
    reply: oneshot::Sender<Result<D::Answer, ControlError>>,
}

impl<D: Decision> Command<D> {
    /// A command of the current task, and where its answer will be.
    pub fn new(decision: D) -> (Self, oneshot::Receiver<Result<D::Answer, ControlError>>) {
        let (reply, answer) = oneshot::channel();
        (
            Self {
                decision: Some(decision),
                once: once::carried_out(),
                outcome: None,
                reply,
            },
            answer,
        )
    }
}

impl<D: Decision> Job for Command<D> {
    fn is_vital(&self) -> bool {
        self.decision.as_ref().is_some_and(Decision::is_vital)
    }

    fn decide<'a>(
        &'a mut self,
        batch: &'a mut Batch,
    ) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send + 'a>> {
        Box::pin(async move {
            if let Some(decision) = self.decision.take() {
                // What was ordered before in the batch counts, the end of this very key among it.
                let allowed = decision.actor().map_or(Ok(()), |actor| batch.allows(actor));
                let decided = match allowed {
                    Ok(()) if batch.store.reserve().is_given() && !decision.is_vital() => {
                        Err(Stop::FailedAlone(Reserve::refusal()))
                    }
                    Ok(()) => decision.decide(batch).await,
                    Err(ended) => Err(ended.into()),
                };
                let decided = match (decided, self.once) {
                    (Ok(answer), Some(key)) => once::note(key, batch).await.map(|()| answer),
                    (decided, _) => decided,
                };
                self.outcome = Some(match decided {
                    Ok(answer) => Ok(answer),
                    Err(Stop::Refused(refusal)) => Err(ControlError::Refused(refusal)),
                    Err(Stop::FailedAlone(error)) => Err(ControlError::from(error)),
                    Err(Stop::Failed(error)) => return Err(error),
                });
            }
            Ok(())
        })
    }

    fn answer(self: Box<Self>, end: Result<(), ControlError>) {
        let answer = match (end, self.outcome) {
            (Ok(()), Some(Ok(answer))) => Ok(answer),
            // Not done whatever became of the rest.
            (_, Some(Err(error))) => Err(error),
            (Err(error), Some(Ok(_)) | None) => Err(error),
            (Ok(()), None) => Err(ControlError::ShuttingDown),
        };
        // Who asked may have gone; what was decided stands.
        let _ = self.reply.send(answer);
    }
}
