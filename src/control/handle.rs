//! The handle that everybody has.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinHandle;

use super::batch::{Batch, Command, Decision, Job, Stop};
use super::change::Change;
use super::cohorts::{CreateCohort, DeleteCohort};
use super::counter::{self, Counting};
use super::deployments::{CreateDeployment, Preview, encode};
use super::devices::{
    AddCredential, CreateDevices, CreatedCredential, CreatedDevice, DeleteDevice, DevicePatch, DeviceUpdate,
    NewCredential, NewDevice, PushDevice, RemoveCredential, UpdateDevices,
};
use super::directory::{DeviceEntry, Directory};
use super::error::ControlError;
use super::failures::Failures;
use super::figures::Figures;
use super::history::History;
use super::import::{DeviceRow, ImportDevices, ImportRules, RowOutcome};
use super::keys::{self, CreateKey, CreatedKey, RevokeKey};
use super::once::UnderWay;
use super::packages::{AddArtifact, CreatePackage, DeleteArtifact, DeletePackage, NoPackage};
use super::places::{Full, Place, Places};
use super::pulse::Beats;
use super::report::Report;
use super::start::{first_steps, load};
use super::timeline::{MomentSenders, moment_queues};
use super::upload::ArtifactUpload;
use super::view::View;
use super::writer::{self, Queues};
use crate::fleet::{
    Actor, ApiKey, Artifact, ArtifactOutcome, Caution, Cohort, CohortId, CohortName, CredentialId,
    Deployment, DeploymentOrder, Device, DeviceId, DeviceProfile, Digest, KeyId, KeyName, NewPackage,
    Package, PackageName, ProjectId, Refusal, Role, Version, lint,
};
use crate::store::{Blob, ReadSlot, ReadersBusy, Store};

/// The fleet, as everybody gets at it: snapshots to read, commands to the one writer, who is connected.
#[derive(Debug, Clone)]
pub struct Control {
    pub(super) shared: Arc<Shared>,
}

/// What the handle and the writer share.
pub struct Shared {
    pub store: Store,
    pub view: ArcSwap<View>,
    pub directory: Arc<Directory>,
    pub changes: broadcast::Sender<Change>,
    /// The number of the last line of the audit that was committed.
    pub audited: watch::Sender<i64>,
    pub beats: Beats,
    pub jobs: mpsc::Sender<Box<dyn Job>>,
    pub reports: mpsc::Sender<Report>,
    pub sightings: mpsc::UnboundedSender<Arc<DeviceEntry>>,
    pub moments: MomentSenders,
    pub stop: watch::Sender<bool>,
    /// Never locked by a shard, and not across anything that waits.
    pub failures: Mutex<Failures>,
    pub figures: Figures,
    pub counting: Counting,
    pub history: History,
    pub counter: Mutex<Option<JoinHandle<()>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    /// Whether the last commit failed.
    pub last_write_failed: AtomicBool,
    /// The last check. Locked while one is in flight.
    checked: Arc<tokio::sync::Mutex<Option<Checked>>>,
    /// Requests that name themselves and are being carried out.
    pub under_way: UnderWay,
    /// A place for each upload.
    uploads: Places,
    /// A place for each import.
    imports: Places,
}

/// What a check found.
struct Checked {
    at: Instant,
    found: Result<(), ControlError>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("online", &self.directory.online())
            .finish_non_exhaustive()
    }
}

/// How to start.
#[derive(Default)]
pub struct Options {
    /// A key that administers from the first start on. Without one, the first start makes a key.
    pub bootstrap_key: Option<String>,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("bootstrap_key", &self.bootstrap_key.is_some())
            .finish()
    }
}

/// What a start brings.
#[derive(Debug)]
pub struct Started {
    /// The handle.
    pub control: Control,
    /// The first admin key, made at a first start without a bootstrap key; to be shown this once.
    pub first_admin_key: Option<CreatedKey>,
}

impl Control {
    /// Reads the state and starts the writer, on the current tokio runtime.
    ///
    /// # Errors
    /// The store fails, or what it holds makes no sense.
    pub async fn start(store: Store, options: Options) -> Result<Started, ControlError> {
        let (view, first_admin_key) = first_steps(&store, load(&store).await?, options).await?;
        let audited = store.last_audit().await?;
        let (jobs, job_queue) = mpsc::channel(JOBS_QUEUED);
        let (reports, report_queue) = mpsc::channel(REPORTS_QUEUED);
        let (sightings, sighting_queue) = mpsc::unbounded_channel();
        let (moments, moment_queues) = moment_queues();
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(Shared {
            store,
            view: ArcSwap::new(view),
            directory: Arc::default(),
            changes: broadcast::channel(CHANGES_KEPT).0,
            audited: watch::Sender::new(audited),
            beats: Beats::default(),
            jobs,
            reports,
            sightings,
            moments,
            stop,
            failures: Mutex::default(),
            figures: Figures::default(),
            counting: Counting::default(),
            history: History::default(),
            counter: Mutex::new(None),
            writer: Mutex::new(None),
            last_write_failed: AtomicBool::default(),
            checked: Arc::default(),
            under_way: UnderWay::default(),
            uploads: Places::new(UPLOADS_AT_ONCE, UPLOADS_OF_ONE),
            imports: Places::new(IMPORTS_AT_ONCE, IMPORTS_OF_ONE),
        });
        let queues = Queues {
            jobs: job_queue,
            reports: report_queue,
            sightings: sighting_queue,
            moments: moment_queues,
            stop: stopped,
        };
        let writer = tokio::spawn(writer::run(Arc::clone(&shared), queues));
        *shared.writer.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer);
        let counter = tokio::spawn(counter::run(Arc::clone(&shared)));
        *shared.counter.lock().unwrap_or_else(PoisonError::into_inner) = Some(counter);
        Ok(Started {
            control: Self { shared },
            first_admin_key,
        })
    }

    /// Ends the writer: what is queued is still decided and committed, what comes later is refused. The data folder
    /// stays locked until the last handle is dropped.
    pub async fn close(&self) {
        // Before the writer, through which it keeps what it has counted.
        self.shared.counting.stop();
        let counter = self
            .shared
            .counter
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(Err(error)) = futures_util::future::OptionFuture::from(counter).await {
            tracing::error!(%error, "the counter has failed");
        }
        self.shared.stop.send_replace(true);
        let writer = self
            .shared
            .writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(Err(error)) = futures_util::future::OptionFuture::from(writer).await {
            tracing::error!(%error, "the writer has failed");
        }
        self.shared.store.close().await;
    }

    /// Returns when the writer has ended, asked to or not: it let go of its queue, as it does also when it panics.
    pub async fn ended(&self) {
        self.shared.jobs.closed().await;
    }

    /// The published state. Hold it for one request, not for a session.
    pub fn view(&self) -> arc_swap::Guard<Arc<View>> {
        self.shared.view.load()
    }

    /// Changes from here on, each sent after its commit. A receiver that lags behind must assume that everything changed.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.shared.changes.subscribe()
    }

    /// The number of the last line of the audit, and a word whenever it has become another one. It wakes a reader early; what
    /// there is to read is in the store.
    pub fn audited(&self) -> watch::Receiver<i64> {
        self.shared.audited.subscribe()
    }

    /// Whether the store takes writes, as of [`CHECK_KEPT`] ago at most: for readiness, which anybody may ask for and
    /// which costs a commit.
    ///
    /// # Errors
    /// It does not.
    pub async fn check(&self) -> Result<(), ControlError> {
        let mut last = Arc::clone(&self.shared.checked).lock_owned().await;
        if let Some(checked) = &*last
            && crate::clock::now().duration_since(checked.at) < CHECK_KEPT
        {
            return checked.found.clone();
        }
        // In a task of its own, which keeps the lock though whoever asked goes away: one check is in flight at most.
        let control = self.clone();
        let check = tokio::spawn(async move {
            let found = match control.order(Check).await {
                Ok(()) => control.check_blobs().await,
                Err(error) => Err(error),
            };
            *last = Some(Checked {
                at: crate::clock::now(),
                found: found.clone(),
            });
            found
        });
        check.await.unwrap_or(Err(ControlError::ShuttingDown))
    }

    /// Whether the last commit went well. Waits for nothing: after one that failed, a check is begun whose outcome is seen by who
    /// asks later, as it may be long until somebody else has something to commit.
    pub fn last_write_succeeded(&self) -> bool {
        let is_given = self.shared.store.reserve().is_given();
        let failed = is_given || self.shared.last_write_failed.load(Ordering::Relaxed);
        if failed {
            let control = self.clone();
            tokio::spawn(async move { control.check().await });
        }
        !failed
    }

    // --- keys ---

    /// The API key that this text is, if it is one and has not expired at `unix_ms`.
    pub fn authenticate(&self, text: &str, unix_ms: i64) -> Option<Arc<ApiKey>> {
        let view = self.shared.view.load();
        view.keys
            .get(&keys::hash(text))
            .filter(|key| key.is_live(unix_ms))
            .cloned()
    }

    /// Makes an API key.
    ///
    /// # Errors
    /// The name is taken; otherwise see [`ControlError`], here and below.
    pub async fn create_key(
        &self,
        actor: &Actor,
        name: KeyName,
        role: Role,
        expires_ms: Option<i64>,
    ) -> Result<CreatedKey, ControlError> {
        self.order(CreateKey {
            actor: actor.clone(),
            name,
            role,
            expires_ms,
        })
        .await
    }

    /// Ends an API key.
    ///
    /// # Errors
    /// It is not there, or the last one that administers.
    pub async fn revoke_key(&self, actor: &Actor, id: KeyId) -> Result<Arc<ApiKey>, ControlError> {
        self.order(RevokeKey {
            actor: actor.clone(),
            id,
        })
        .await
    }

    // --- packages and artifacts ---

    /// Makes a package.
    ///
    /// # Errors
    /// The name is taken, or what comes with it is too long.
    pub async fn create_package(
        &self,
        actor: &Actor,
        project: ProjectId,
        new: NewPackage,
    ) -> Result<Arc<Package>, ControlError> {
        self.order(CreatePackage {
            actor: actor.clone(),
            project,
            new,
        })
        .await
    }

    /// Removes a package that has no artifacts.
    ///
    /// # Errors
    /// It is not there, or has artifacts.
    pub async fn delete_package(
        &self,
        actor: &Actor,
        project: ProjectId,
        name: PackageName,
    ) -> Result<Arc<Package>, ControlError> {
        self.order(DeletePackage {
            actor: actor.clone(),
            project,
            name,
        })
        .await
    }

    /// Begins to take the bytes of an artifact, `limit` of them at most.
    ///
    /// # Errors
    /// As many are under way as are taken at a time, of all or of this actor, or the disk fails.
    pub async fn begin_upload(&self, actor: &Actor, limit: u64) -> Result<ArtifactUpload, ControlError> {
        let place = self.shared.uploads.take(actor).map_err(|full| match full {
            Full::All(bound) => ControlError::TooManyUploads(bound),
            Full::Share { actor, share } => ControlError::TooManyOwnUploads(actor, share),
        })?;
        let upload = self.shared.store.begin_upload(limit)?;
        Ok(ArtifactUpload::new(upload, limit, place))
    }

    /// A place for an import, as soon as there is one.
    ///
    /// # Errors
    /// For so long, as many are under way as are taken at a time, of all or of this actor.
    pub async fn import_place(&self, actor: &Actor, at_most: Duration) -> Result<Place, Full> {
        self.shared.imports.wait(actor, at_most).await
    }

    /// Makes an artifact of uploaded bytes. `declared` is what the sender says their SHA-256 is.
    ///
    /// # Errors
    /// The bytes are not those declared, there is no such package, or the version exists with other bytes.
    pub async fn add_artifact(
        &self,
        actor: &Actor,
        project: ProjectId,
        package: PackageName,
        version: Version,
        upload: ArtifactUpload,
        declared: Option<Digest>,
    ) -> Result<ArtifactOutcome, ControlError> {
        let bytes = upload.finish(declared).await?;
        self.order(AddArtifact {
            actor: actor.clone(),
            project,
            package,
            version,
            bytes,
            no_package: NoPackage::Refuse,
        })
        .await
    }

    /// The same, and makes the package where there is none with this name: one step, of which either all is kept or nothing.
    ///
    /// # Errors
    /// The bytes are not those declared, or the version exists with other bytes.
    pub async fn add_artifact_and_package(
        &self,
        actor: &Actor,
        project: ProjectId,
        package: PackageName,
        version: Version,
        upload: ArtifactUpload,
        declared: Option<Digest>,
    ) -> Result<ArtifactOutcome, ControlError> {
        let bytes = upload.finish(declared).await?;
        self.order(AddArtifact {
            actor: actor.clone(),
            project,
            package,
            version,
            bytes,
            no_package: NoPackage::Make,
        })
        .await
    }

    /// Removes an artifact that no deployment names.
    ///
    /// # Errors
    /// It is not there, or deployments name it.
    pub async fn delete_artifact(
        &self,
        actor: &Actor,
        project: ProjectId,
        package: PackageName,
        version: Version,
    ) -> Result<Arc<Artifact>, ControlError> {
        self.order(DeleteArtifact {
            actor: actor.clone(),
            project,
            package,
            version,
        })
        .await
    }

    /// The bytes with this digest, for positioned reads. Takes no lock if they were read of late.
    ///
    /// # Errors
    /// There are none, or the disk fails.
    pub fn open_blob(&self, digest: &Digest) -> io::Result<Arc<Blob>> {
        self.shared.store.open_blob(digest)
    }

    /// Fills `block` with the bytes of an artifact from `offset` on if that takes no waiting, neither for the disk nor for a
    /// lock. Allocates nothing. False if the bytes have to be asked for with [`Self::read_slot`].
    pub fn read_now(&self, digest: &Digest, offset: u64, block: &mut [u8]) -> bool {
        self.shared.store.read_now(digest, offset, block)
    }

    /// A place in the queue of the threads that wait for the disk.
    ///
    /// # Errors
    /// The queue is full.
    pub fn read_slot(&self) -> Result<ReadSlot<'_>, ReadersBusy> {
        self.shared.store.read_slot()
    }

    /// Has every read that has to wait do so until what is returned is dropped.
    #[cfg(test)]
    pub fn stall_readers(&self) -> impl Sized + use<> {
        self.shared.store.stall_readers()
    }

    // --- cohorts and deployments ---

    /// Makes a cohort.
    ///
    /// # Errors
    /// The name is taken.
    pub async fn create_cohort(
        &self,
        actor: &Actor,
        project: ProjectId,
        name: CohortName,
    ) -> Result<Arc<Cohort>, ControlError> {
        self.order(CreateCohort {
            actor: actor.clone(),
            project,
            name,
        })
        .await
    }

    /// Removes a cohort that has neither devices nor deployments.
    ///
    /// # Errors
    /// It is not there, or has devices or deployments.
    pub async fn delete_cohort(
        &self,
        actor: &Actor,
        project: ProjectId,
        id: CohortId,
    ) -> Result<Arc<Cohort>, ControlError> {
        self.order(DeleteCohort {
            actor: actor.clone(),
            project,
            id,
        })
        .await
    }

    /// Makes a deployment: the cohort's active one from its commit on.
    ///
    /// # Errors
    /// What it names is not there, the review is stale, or devices could not take it.
    pub async fn create_deployment(
        &self,
        actor: &Actor,
        project: ProjectId,
        order: DeploymentOrder,
    ) -> Result<Arc<Deployment>, ControlError> {
        self.order(CreateDeployment {
            actor: actor.clone(),
            project,
            order,
        })
        .await
    }

    /// What a deployment would do.
    ///
    /// # Errors
    /// It would be refused.
    pub async fn preview_deployment(
        &self,
        project: ProjectId,
        order: &DeploymentOrder,
    ) -> Result<Preview, ControlError> {
        let view = self.shared.view.load_full();
        let (deployment, difference) = view.plan_deployment(project, order, "", crate::clock::unix_ms())?;
        let manifest = encode(&deployment)?;
        let cohort = view.in_project(project)?.require_cohort(order.cohort)?;
        let devices = cohort.devices;
        let bytes_per_device = difference.bytes_per_device();
        let lint = lint(&deployment, &DeviceProfile::default());
        Ok(Preview {
            cautions: Caution::of(&difference, &lint),
            estimate: self.estimate(project, cohort, bytes_per_device).await?,
            lint,
            active: cohort.active().cloned(),
            manifest,
            devices,
            online: self.online_in(order.cohort),
            bytes_per_device,
            bytes_total: bytes_per_device.saturating_mul(devices),
            deployment,
            difference,
        })
    }

    // --- devices ---

    /// Makes a device.
    ///
    /// # Errors
    /// The name or an identity is taken, there is no such cohort, or there is too much of something.
    pub async fn create_device(
        &self,
        actor: &Actor,
        project: ProjectId,
        new: NewDevice,
    ) -> Result<CreatedDevice, ControlError> {
        let mut created = self.create_devices(actor, project, vec![new]).await?;
        Ok(created.pop().expect("one was asked for")?)
    }

    /// Makes many devices in one commit; each may be refused by itself.
    ///
    /// # Errors
    /// There is no such project.
    pub async fn create_devices(
        &self,
        actor: &Actor,
        project: ProjectId,
        new: Vec<NewDevice>,
    ) -> Result<Vec<Result<CreatedDevice, Refusal>>, ControlError> {
        self.order(CreateDevices {
            actor: actor.clone(),
            project,
            new,
        })
        .await
    }

    /// Changes a device.
    ///
    /// # Errors
    /// It, or the cohort, is not there, there are too many tags, or it would see the sequence number fall and that is not
    /// allowed.
    pub async fn update_device(
        &self,
        actor: &Actor,
        project: ProjectId,
        id: DeviceId,
        patch: DevicePatch,
    ) -> Result<DeviceUpdate, ControlError> {
        let mut updated = self.update_devices(actor, project, vec![id], patch).await?;
        Ok(updated.pop().expect("one was asked for")?)
    }

    /// Changes many devices in one commit; each may be refused by itself.
    ///
    /// # Errors
    /// There is no such project.
    pub async fn update_devices(
        &self,
        actor: &Actor,
        project: ProjectId,
        ids: Vec<DeviceId>,
        patch: DevicePatch,
    ) -> Result<Vec<Result<DeviceUpdate, Refusal>>, ControlError> {
        self.order(UpdateDevices {
            actor: actor.clone(),
            project,
            ids,
            patch,
        })
        .await
    }

    /// Makes the fleet have these devices, in one commit; each may be refused by itself.
    ///
    /// # Errors
    /// There is no such project.
    pub async fn import_devices(
        &self,
        actor: &Actor,
        project: ProjectId,
        rules: ImportRules,
        rows: Vec<DeviceRow>,
    ) -> Result<Vec<Result<RowOutcome, Refusal>>, ControlError> {
        self.order(ImportDevices {
            actor: actor.clone(),
            project,
            rules,
            rows,
        })
        .await
    }

    /// Removes a device, its credentials and its states.
    ///
    /// # Errors
    /// It is not there.
    pub async fn delete_device(
        &self,
        actor: &Actor,
        project: ProjectId,
        id: DeviceId,
    ) -> Result<Device, ControlError> {
        self.order(DeleteDevice {
            actor: actor.clone(),
            project,
            id,
        })
        .await
    }

    /// Gives a device one more credential.
    ///
    /// # Errors
    /// The device is not there, the identity is taken, or it has too many.
    pub async fn add_credential(
        &self,
        actor: &Actor,
        project: ProjectId,
        device: DeviceId,
        new: NewCredential,
    ) -> Result<CreatedCredential, ControlError> {
        self.order(AddCredential {
            actor: actor.clone(),
            project,
            device,
            new,
        })
        .await
    }

    /// Takes a credential from a device.
    ///
    /// # Errors
    /// The device or the credential is not there.
    pub async fn remove_credential(
        &self,
        actor: &Actor,
        project: ProjectId,
        device: DeviceId,
        id: CredentialId,
    ) -> Result<(), ControlError> {
        self.order(RemoveCredential {
            actor: actor.clone(),
            project,
            device,
            id,
        })
        .await
    }

    /// Has a device sent its manifest again. Returns whether it is connected.
    ///
    /// # Errors
    /// It is not there.
    pub async fn push(
        &self,
        actor: &Actor,
        project: ProjectId,
        device: DeviceId,
    ) -> Result<bool, ControlError> {
        self.order(PushDevice {
            actor: actor.clone(),
            project,
            id: device,
        })
        .await?;
        Ok(self.entry(device).is_some_and(|entry| entry.session().is_some()))
    }

    /// A commit may yet find room, in what the database has of the disk already, when nothing else does.
    async fn check_blobs(&self) -> Result<(), ControlError> {
        let store = self.shared.store.clone();
        let checked = tokio::task::spawn_blocking(move || store.check_blobs()).await;
        Ok(checked.map_err(|_| ControlError::ShuttingDown)??)
    }

    pub(super) async fn order<D: Decision>(&self, decision: D) -> Result<D::Answer, ControlError> {
        let (command, answer) = Command::new(decision);
        self.shared
            .jobs
            .send(Box::new(command))
            .await
            .map_err(|_| ControlError::ShuttingDown)?;
        answer.await.map_err(|_| ControlError::ShuttingDown)?
    }
}

/// Goes through the writer and the database and changes nothing of the fleet.
struct Check;

impl Decision for Check {
    type Answer = ();

    fn actor(&self) -> Option<&Actor> {
        None
    }

    async fn decide(self, batch: &mut Batch) -> Result<(), Stop> {
        let at_ms = batch.at_ms;
        Ok(batch.tx.set_checked(at_ms).await?)
    }
}

/// Commands that wait: whoever orders more waits to order.
const JOBS_QUEUED: usize = 1024;
/// Uploads at a time, each with a temporary file open: with the connections they come on they stay below the usual limit
/// of 1024 file descriptors, so that devices and the store never lack one.
const UPLOADS_AT_ONCE: usize = 64;
/// Uploads of one actor at a time.
const UPLOADS_OF_ONE: usize = UPLOADS_AT_ONCE / 2;
/// Imports under way, each of which may keep some tens of MB of its answer.
const IMPORTS_AT_ONCE: usize = 4;
/// Imports of one actor.
const IMPORTS_OF_ONE: usize = IMPORTS_AT_ONCE / 2;
/// Reports that wait: some hundred milliseconds of work.
const REPORTS_QUEUED: usize = 65_536;
/// How long the outcome of a check is good for: a reasoned guess, far below the seconds between a supervisor's probes.
pub(super) const CHECK_KEPT: Duration = Duration::from_secs(1);
/// Changes a slow listener may fall behind.
const CHANGES_KEPT: usize = 1024;
