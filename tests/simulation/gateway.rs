//! The gateway as it is, without its sockets: shard, device API, writer and a store in a temporary folder.

use std::net::SocketAddr;
use std::sync::Arc;

use tempfile::TempDir;
use tessera::control::{Actor, Control, DeviceEntry, NewCredential, NewDevice, NewPsk, Options};
use tessera::device_api::{DeviceApi, Keys};
use tessera::fleet::{
    ArtifactRef, CohortId, CohortName, DeploymentName, DeploymentOrder, DeviceName, NewPackage, PackageName,
    ProjectId, PskIdentity, PskSecret, Version,
};
use tessera::store::Store;
use tessera::transport::{Time, TransportConfig, Unplugged, Upstairs, Wake};
use tokio::runtime::Runtime;

pub struct Gateway {
    runtime: Runtime,
    folder: TempDir,
    running: Option<Running>,
    project: ProjectId,
    cohort: CohortId,
    deployments: u32,
    seed: u64,
}

struct Running {
    control: Control,
    shard: Unplugged<DeviceApi, Keys>,
}

impl Gateway {
    /// One cohort with so many devices, and a package `main` with these versions.
    pub fn new(devices: usize, versions: &[(&str, Vec<u8>)], time: Time, seed: u64) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let running = runtime.block_on(start(&folder, time, seed));
        let control = &running.control;
        let project = control.view().default_project().id;
        let cohort = runtime.block_on(async {
            let main = PackageName::parse("main").unwrap();
            let new = NewPackage {
                name: main.clone(),
                description: String::new(),
                metadata: serde_json::Map::new(),
            };
            control.create_package(&me(), project, new).await.unwrap();
            for (version, bytes) in versions {
                let mut upload = control.begin_upload(&Actor::system(), 1 << 20).await.unwrap();
                upload.write(bytes).await.unwrap();
                let version = Version::parse(version).unwrap();
                control
                    .add_artifact(&me(), project, main.clone(), version, upload, None)
                    .await
                    .unwrap();
            }
            let name = CohortName::parse("all").unwrap();
            let cohort = control.create_cohort(&me(), project, name).await.unwrap().id;
            for index in 0..devices {
                let (identity, secret) = credentials(index);
                let new = NewDevice {
                    enabled: true,
                    name: DeviceName::parse(&name_of(index)).unwrap(),
                    cohort: Some(cohort),
                    tags: Vec::new(),
                    credentials: vec![NewCredential::Psk(NewPsk {
                        identity: Some(PskIdentity::new(identity.as_bytes()).unwrap()),
                        secret: Some(PskSecret::new(secret.as_bytes()).unwrap()),
                    })],
                };
                control.create_device(&me(), project, new).await.unwrap();
            }
            cohort
        });
        Self {
            runtime,
            folder,
            running: Some(running),
            project,
            cohort,
            deployments: 0,
            seed,
        }
    }

    pub fn deploy(&mut self, time: Time, version: &str) {
        let running = self.running.as_mut().unwrap();
        self.deployments += 1;
        let order = DeploymentOrder {
            cohort: self.cohort,
            name: DeploymentName::parse(&format!("deployment {}", self.deployments)).unwrap(),
            artifacts: vec![ArtifactRef {
                package: PackageName::parse("main").unwrap(),
                version: Version::parse(version).unwrap(),
            }],
            expected_active: None,
        };
        let me = me();
        let made = running.control.create_deployment(&me, self.project, order);
        self.runtime.block_on(made).unwrap();
        // What the follower in `app` does.
        running.shard.wake(time, Wake::Everyone);
        self.settle();
    }

    pub fn handle_datagram(&mut self, time: Time, peer: SocketAddr, datagram: &mut [u8]) {
        self.shard().handle_datagram(time, peer, datagram);
        self.settle();
    }

    pub fn handle_timeout(&mut self, time: Time) {
        self.shard().handle_timeout(time);
        self.settle();
    }

    pub fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.shard().poll_transmit()
    }

    pub fn poll_timeout(&self) -> std::time::Instant {
        self.running.as_ref().unwrap().shard.poll_timeout()
    }

    /// The version that a device reported last, as the store has it.
    pub fn reported(&self, index: usize) -> Option<String> {
        let control = &self.running.as_ref().unwrap().control;
        self.runtime.block_on(async {
            let name = DeviceName::parse(&name_of(index)).unwrap();
            let entry: Arc<DeviceEntry> = control
                .device_by_name(self.project, &name)
                .await
                .unwrap()
                .unwrap();
            let record = control.device(self.project, entry.id()).await.unwrap().unwrap();
            let main = record
                .packages
                .into_iter()
                .find(|package| package.package == "main");
            main.and_then(|package| package.version)
        })
    }

    /// Ends without a word, and starts again on what is on disk.
    pub fn kill_and_start(&mut self, time: Time) {
        let Running { control, shard } = self.running.take().unwrap();
        shard.kill();
        self.runtime.block_on(control.close());
        drop(control);
        self.running = Some(self.runtime.block_on(start(&self.folder, time, !self.seed)));
        self.settle();
    }

    fn shard(&mut self) -> &mut Unplugged<DeviceApi, Keys> {
        &mut self.running.as_mut().unwrap().shard
    }

    /// No virtual time passes while a key, a commit or a sync is awaited.
    fn settle(&mut self) {
        let shard = &mut self.running.as_mut().unwrap().shard;
        self.runtime.block_on(shard.settled());
    }
}

async fn start(folder: &TempDir, time: Time, seed: u64) -> Running {
    let store = Store::open(folder.path()).await.unwrap();
    let session_log = store.session_log();
    let control = Control::start(store, Options::default()).await.unwrap().control;
    let upstairs = Upstairs {
        handler: Arc::new(DeviceApi::new(control.clone())),
        keys: Arc::new(Keys::new(control.clone(), tokio::runtime::Handle::current())),
        journal: Some(Box::new(session_log)),
    };
    let local = "192.0.2.1:5684".parse().unwrap();
    let shard = Unplugged::start(local, &TransportConfig::default(), upstairs, time, seed).unwrap();
    Running { control, shard }
}

/// A device's PSK.
pub fn credentials(index: usize) -> (String, String) {
    (
        format!("{}-id@default", name_of(index)),
        format!("secret-{index}"),
    )
}

fn name_of(index: usize) -> String {
    format!("device-{index}")
}

fn me() -> Actor {
    Actor::named("me")
}
