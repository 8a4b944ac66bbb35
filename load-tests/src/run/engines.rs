//! The fleet of a scenario, dealt out to the two engines.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use hdrhistogram::Histogram;
use tessera::clock;
use tessera::dtls::AnchorError;
use tessera::virtual_device::{
    Booting, ClientConfig, ClientCredential, Identity, Model, Pace, Psk, ServerTrust, TrustAnchors,
    VirtualDevice,
};
use thiserror::Error;
use tokio::sync::mpsc;

use crate::endpoint::Ground;
use crate::engine::{
    self, EngineCounts, Fleet, ForeignCredential, ForeignSeat, Happened, Order, Seat, Wiring,
};
use crate::gateway::{Credentials, DeviceCredential};
use crate::network::Profile;
use crate::plan::{DevicePlan, Plan};
use crate::scenario::{Boots, Engine, Kind, Scenario};

/// Devices at work on both engines; dropped, they fall silent.
#[derive(Debug)]
pub struct Engines {
    native: Fleet,
    foreign: Fleet,
}

/// Where the devices are to live.
#[derive(Debug)]
pub struct Site {
    /// Where the gateway listens for them.
    pub gateway: SocketAddr,
    /// Where the devices' own addresses and ports come from.
    pub ground: Ground,
    /// When the arrival begins.
    pub began: Instant,
    /// Threads of each engine.
    pub threads: usize,
    /// Where they tell what happens.
    pub happened: mpsc::Sender<Vec<Happened>>,
}

/// Why there is no fleet.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The plan's own identity or key is none.
    #[error("device {name} cannot have its identity or key: {why}")]
    Credential {
        /// Which.
        name: String,
        /// Why.
        why: String,
    },
    /// The CA that the run has made is none.
    #[error("the CA of the gateway's certificate cannot be read")]
    Trust(#[from] AnchorError),
    /// No sockets or threads.
    #[error("the {engine} engine cannot start {devices} devices")]
    Start {
        /// Which engine.
        engine: Engine,
        /// With how many.
        devices: usize,
        /// Why.
        source: std::io::Error,
    },
}

/// What all devices of a kind share.
struct Likeness {
    model: Arc<Model>,
    images: Arc<BTreeMap<String, Boots>>,
    network: Arc<Profile>,
}

impl Engines {
    /// Seats every device of the plan and starts both engines.
    pub fn start(
        scenario: &Scenario,
        plan: &Plan,
        credentials: &Credentials,
        site: Site,
    ) -> Result<Self, EngineError> {
        let trust = trust(credentials.server_ca.as_deref())?;
        let likenesses: Vec<Likeness> = scenario
            .kinds
            .iter()
            .map(|kind| Likeness::of(scenario, kind, &trust))
            .collect();
        let (mut native, mut foreign) = (Vec::new(), Vec::new());
        let seats = plan.devices.iter().zip(&credentials.devices);
        for (device, (planned, credential)) in (0..).zip(seats) {
            let (kind, likeness) = (&scenario.kinds[planned.kind], &likenesses[planned.kind]);
            let start = site.began + planned.start;
            match kind.engine {
                Engine::Native => native.push(Seat {
                    device,
                    virtual_device: VirtualDevice::new(
                        Arc::clone(&likeness.model),
                        native_credential(planned, credential)?,
                        &kind.runs.version,
                        start,
                        planned.seed,
                    ),
                    network: Arc::clone(&likeness.network),
                    network_seed: planned.network_seed,
                }),
                Engine::Foreign => foreign.push(ForeignSeat {
                    device,
                    credential: foreign_credential(credential),
                    suites: kind.suites.clone(),
                    port: kind.port,
                    block_size: kind.block_size,
                    package: kind.runs.package.clone(),
                    version: kind.runs.version.clone(),
                    faster: kind.faster,
                    images: Arc::clone(&likeness.images),
                    start,
                    seed: planned.seed,
                    network: Arc::clone(&likeness.network),
                    network_seed: planned.network_seed,
                }),
            }
        }
        let wiring = || Wiring {
            gateway: site.gateway,
            threads: site.threads,
            ground: site.ground.clone(),
            happened: site.happened.clone(),
        };
        let failed = |engine, devices| {
            move |source| EngineError::Start {
                engine,
                devices,
                source,
            }
        };
        let (natives, foreigners) = (native.len(), foreign.len());
        Ok(Self {
            native: engine::native::start(native, wiring()).map_err(failed(Engine::Native, natives))?,
            foreign: engine::foreign::start(foreign, wiring())
                .map_err(failed(Engine::Foreign, foreigners))?,
        })
    }

    /// Has devices do something.
    pub fn order(&self, devices: &[u32], order: Order) {
        for &device in devices {
            // Each device is of one of the two.
            let _ = self.native.order(device, order) || self.foreign.order(device, order);
        }
    }

    /// What both have counted.
    pub fn counts(&self) -> EngineCounts {
        let mut counts = self.native.counts();
        counts.add(&self.foreign.counts());
        counts
    }

    /// How late both were.
    pub fn lateness(&self) -> Histogram<u64> {
        let mut lateness = self.native.lateness();
        lateness
            .add(self.foreign.lateness())
            .expect("both engines have the same bounds");
        lateness
    }

    /// What whoever reads the result should know of this machine.
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = [self.native.remarks(), self.foreign.remarks()].concat();
        remarks.sort();
        remarks.dedup();
        remarks
    }
}

impl Likeness {
    fn of(scenario: &Scenario, kind: &Kind, trust: &ServerTrust) -> Self {
        let images = scenario.images.iter();
        let images = images.filter(|(name, _)| name.package == kind.runs.package);
        let images: BTreeMap<String, Boots> = images
            .map(|(name, image)| (name.version.clone(), image.boots.clone()))
            .collect();
        let model = Model {
            dtls: Arc::new(ClientConfig {
                trust: trust.clone(),
                ..kind.port.dtls_offering(kind.suites.clone(), kind.connection_id)
            }),
            package: kind.runs.package.clone(),
            block_size: kind.block_size,
            pace: Pace::of(kind.port).faster(kind.faster),
            images: images
                .iter()
                .map(|(version, boots)| (version.clone(), booting(boots)))
                .collect(),
            ..Model::of(kind.port)
        };
        Self {
            model: Arc::new(model),
            images: Arc::new(images),
            network: Arc::new(kind.network.clone()),
        }
    }
}

fn booting(boots: &Boots) -> Booting {
    match boots {
        Boots::Well => Booting::Well,
        Boots::As(version) => Booting::As(version.clone()),
        Boots::Badly => Booting::Badly,
    }
}

/// Our own gateway's certificate is of a CA that the run has made; of another's nobody here knows who vouches for it.
fn trust(server_ca: Option<&str>) -> Result<ServerTrust, AnchorError> {
    Ok(match server_ca {
        Some(pem) => ServerTrust::Anchors {
            anchors: Arc::new(TrustAnchors::from_pem(pem.as_bytes())?),
            unix_s: clock::unix_ms() / 1000,
        },
        None => ServerTrust::Anyone,
    })
}

fn native_credential(
    planned: &DevicePlan,
    credential: &DeviceCredential,
) -> Result<ClientCredential, EngineError> {
    let wrong = |why: String| EngineError::Credential {
        name: planned.name.clone(),
        why,
    };
    Ok(match credential {
        DeviceCredential::Psk { identity, secret } => ClientCredential::Psk {
            identity: Identity::new(identity.as_bytes()).map_err(|error| wrong(error.to_string()))?,
            key: Psk::new(secret.as_bytes()).map_err(|error| wrong(error.to_string()))?,
        },
        DeviceCredential::Certificate(issued) => {
            ClientCredential::Certificate(Arc::clone(issued.certified_key()))
        }
    })
}

fn foreign_credential(credential: &DeviceCredential) -> ForeignCredential {
    match credential {
        DeviceCredential::Psk { identity, secret } => ForeignCredential::Psk {
            identity: identity.clone(),
            secret: secret.clone(),
        },
        DeviceCredential::Certificate(issued) => ForeignCredential::Certificate {
            chain: vec![issued.certificate_der().to_vec()],
            key: issued.key_der().to_vec(),
        },
    }
}
