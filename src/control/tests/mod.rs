//! The writer over a real store, by subject. What is acknowledged is looked for in a copy of the folder: what another
//! process finds after this one was killed.

mod artifacts;
mod certificates;
mod deployments;
mod devices;
mod durability;
mod figures;
mod import;
mod keys;
mod lists;
mod log;
mod reports;
mod timeline;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::{
    Actor, Control, ControlError, DeviceEntry, DevicePatch, NewCredential, NewDevice, NewPsk, Options,
    Report, SessionFacts, Started,
};
use crate::fleet::{
    ArtifactOutcome, ArtifactRef, CohortId, CohortName, Deployment, DeploymentName, DeploymentOrder,
    DeviceId, DeviceName, NewPackage, PackageName, ProjectId, PskIdentity, PskSecret, Version,
};
use crate::store::Store;

/// For tests that do what nobody thought of. `tests/run` says from which seed, for these as for properties; without it any.
fn dice() -> StdRng {
    let said = std::env::var("PROPTEST_RNG_SEED").ok();
    let seed = said.and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| rand::rng().random());
    println!("PROPTEST_RNG_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

/// A running control over a folder of its own, and short ways to fill it.
struct Given {
    folder: TempDir,
    control: Control,
    project: ProjectId,
}

impl Given {
    async fn new() -> Self {
        Self::on(tempfile::tempdir().unwrap()).await
    }

    async fn on(folder: TempDir) -> Self {
        let control = start(folder.path(), Options::default()).await.control;
        let project = control.view().default_project().id;
        Self {
            folder,
            control,
            project,
        }
    }

    async fn with_artifacts() -> Self {
        let given = Self::new().await;
        for (package, versions) in [("main", &["1.0", "2.0"][..]), ("modem", &["1"])] {
            given.package(package).await;
            for version in versions {
                given
                    .upload(package, version, format!("{package} {version}").as_bytes())
                    .await
                    .unwrap();
            }
        }
        given
    }

    /// What another process finds after this one was killed at this moment.
    async fn killed(self) -> Self {
        Self::on(self.copy()).await
    }

    /// What the next process finds after this one ended.
    async fn restarted(self) -> Self {
        self.control.close().await;
        drop(self.control);
        Self::on(self.folder).await
    }

    /// The same after a restart with `to` wherever the database says `from`: what a version with other rules may have left.
    async fn rewritten(self, from: &str, to: &str) -> Self {
        assert_eq!(from.len(), to.len());
        self.control.close().await;
        let (control, folder) = (self.control, self.folder);
        drop(control);
        let path = folder.path().join("tessera.db");
        let mut bytes = std::fs::read(&path).unwrap();
        let places = bytes.windows(from.len()).enumerate();
        let places = places.filter(|(_, window)| *window == from.as_bytes());
        let places: Vec<usize> = places.map(|(place, _)| place).collect();
        assert!(!places.is_empty(), "{from} is in the database");
        for place in places {
            bytes[place..place + to.len()].copy_from_slice(to.as_bytes());
        }
        std::fs::write(&path, bytes).unwrap();
        Self::on(folder).await
    }

    fn copy(&self) -> TempDir {
        let copy = tempfile::tempdir().unwrap();
        copy_folder(self.folder.path(), copy.path());
        copy
    }

    async fn package(&self, name: &str) {
        let new = NewPackage {
            name: PackageName::parse(name).unwrap(),
            description: String::new(),
            metadata: serde_json::Map::new(),
        };
        self.control
            .create_package(&me(), self.project, new)
            .await
            .unwrap();
    }

    async fn upload(
        &self,
        package: &str,
        version: &str,
        bytes: &[u8],
    ) -> Result<ArtifactOutcome, ControlError> {
        let mut upload = self.control.begin_upload(&Actor::system(), 1000).await?;
        upload.write(bytes).await?;
        let (package, version) = (
            PackageName::parse(package).unwrap(),
            Version::parse(version).unwrap(),
        );
        self.control
            .add_artifact(&me(), self.project, package, version, upload, None)
            .await
    }

    async fn cohort(&self, name: &str) -> CohortId {
        let name = CohortName::parse(name).unwrap();
        self.control
            .create_cohort(&me(), self.project, name)
            .await
            .unwrap()
            .id
    }

    async fn deploy(
        &self,
        cohort: CohortId,
        name: &str,
        artifacts: &[&str],
    ) -> Result<Arc<Deployment>, ControlError> {
        self.control
            .create_deployment(&me(), self.project, order(cohort, name, artifacts))
            .await
    }

    async fn device(&self, name: &str, cohort: Option<CohortId>) -> DeviceId {
        self.control
            .create_device(&me(), self.project, new_device(name, cohort))
            .await
            .unwrap()
            .device
            .id
    }

    async fn update(&self, device: DeviceId, patch: DevicePatch) {
        self.control
            .update_device(&me(), self.project, device, patch)
            .await
            .unwrap();
    }

    async fn entry(&self, name: &str) -> Arc<DeviceEntry> {
        let name = DeviceName::parse(name).unwrap();
        self.control
            .device_by_name(self.project, &name)
            .await
            .unwrap()
            .unwrap()
    }

    fn report(
        &self,
        entry: &Arc<DeviceEntry>,
        package: &str,
        state: u64,
    ) -> oneshot::Receiver<Result<(), ()>> {
        let (done, answer) = oneshot::channel();
        let report = Report {
            device: Arc::clone(entry),
            package: package.to_owned(),
            state,
            reason: 0,
            version: Some("1.0".to_owned()),
            target: None,
            at_ms: 17,
            done: Box::new(move |end| done.send(end).unwrap_or(())),
        };
        self.control.report_slot().unwrap().take(report);
        answer
    }

    /// How many files hold artifact bytes, finished or not.
    fn files(&self) -> usize {
        ["blobs", "uploads"]
            .iter()
            .map(|folder| count_files(&self.folder.path().join(folder)))
            .sum()
    }
}

async fn start(folder: &Path, options: Options) -> Started {
    Control::start(Store::open(folder).await.unwrap(), options)
        .await
        .unwrap()
}

fn me() -> Actor {
    Actor::named("me")
}

fn order(cohort: CohortId, name: &str, artifacts: &[&str]) -> DeploymentOrder {
    let parse = |text: &&str| {
        let (package, version) = text.split_once('@').unwrap();
        ArtifactRef {
            package: PackageName::parse(package).unwrap(),
            version: Version::parse(version).unwrap(),
        }
    };
    DeploymentOrder {
        cohort,
        name: DeploymentName::parse(name).unwrap(),
        artifacts: artifacts.iter().map(parse).collect(),
        expected_active: None,
    }
}

fn new_device(name: &str, cohort: Option<CohortId>) -> NewDevice {
    NewDevice {
        name: DeviceName::parse(name).unwrap(),
        cohort,
        tags: Vec::new(),
        enabled: true,
        credentials: Vec::new(),
    }
}

fn credential(identity: &str, secret: Option<&[u8]>) -> NewCredential {
    NewCredential::Psk(NewPsk {
        identity: Some(PskIdentity::new(identity.as_bytes()).unwrap()),
        secret: secret.map(|secret| PskSecret::new(secret).unwrap()),
    })
}

fn session(serial: u64) -> SessionFacts {
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 5684));
    SessionFacts {
        shard: 0,
        peer,
        suite: "none",
        connection_id: None,
        credential: None,
        since_ms: 1,
        serial,
    }
}

fn copy_folder(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy_folder(&path, &target);
        } else if !path.to_str().unwrap().ends_with("-shm") {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

fn count_files(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .map(|path| if path.is_dir() { count_files(&path) } else { 1 })
        .sum()
}
