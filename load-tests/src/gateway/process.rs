//! The gateway's process: started, killed, told to stop, started again on the same ports and data.

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use tessera::clock;
use thiserror::Error;

use super::api::{Api, ApiError};
use super::disk::{Disk, DiskError};
use super::figures::{Figures, Meter};
use super::pki::{Authority, PkiError};
use super::set_up::{self, Credentials, Progress};
use crate::plan::DevicePlan;
use crate::scenario::{GatewayPlan, ImageName, Scenario};

/// A gateway: one of ours, which ends when this is dropped, or somebody else's.
#[derive(Debug)]
pub struct Gateway {
    url: String,
    coaps: SocketAddr,
    api: Api,
    meter: Meter,
    ours: Option<Ours>,
}

/// What there is of a gateway that this run has started.
#[derive(Debug)]
struct Ours {
    /// This executable.
    program: PathBuf,
    folder: PathBuf,
    plan: GatewayPlan,
    admin_port: u16,
    key: String,
    server_ca: String,
    disk: Option<Disk>,
    process: Option<Process>,
    /// Whether nobody waits for it any more.
    given_up: Arc<AtomicBool>,
}

/// A process that runs, or has ended and not been reaped.
#[derive(Debug)]
struct Process {
    child: Child,
    /// Its life: it ends when this is closed, which the kernel does when the simulator is gone. Apart from the child, as
    /// waiting for that closes what it has.
    _life: Option<ChildStdin>,
}

/// Why something cannot be done with a gateway.
#[derive(Debug, Error)]
pub enum GatewayError {
    /// It is somebody else's.
    #[error(
        "the gateway at {url} was started by somebody else, so it cannot be {what} by a run: leave such events out, or let \
         the run start a gateway of its own (without --url)"
    )]
    NotOurs {
        /// Where it is.
        url: String,
        /// What was asked of it.
        what: &'static str,
    },
    /// An address that cannot be called.
    #[error(
        "{url:?} is not an address of a gateway's API that can be called; accepted: http://HOST:PORT, without a path"
    )]
    Url {
        /// What was given.
        url: String,
    },
    /// A key that cannot be in a header.
    #[error("the API key is none: it is empty, or has characters in it that no key has")]
    Key,
    /// What is deployed would reach devices that are none of the run's.
    #[error(
        "cohort {cohort:?} of the gateway has {devices} device(s) that are not the run's, the first of them {first:?}, to which \
         the run would deploy what is no firmware; nothing was changed. Give the cohort another name in the scenario, or \
         let the run start a gateway of its own (without --url)"
    )]
    Strangers {
        /// The cohort.
        cohort: String,
        /// How many.
        devices: u64,
        /// The first of them.
        first: String,
    },
    /// Devices are there whose names the run's have.
    #[error(
        "the gateway has {devices} device(s) of the names that the run gives its own, in other cohorts than the scenario's, \
         the first of them {first:?} in {cohort}: the run would take its place, with another key; nothing was changed. Give \
         the devices another name in the scenario, or let the run start a gateway of its own (without --url)"
    )]
    Namesakes {
        /// How many.
        devices: u64,
        /// The first of them.
        first: String,
        /// Where that is.
        cohort: String,
    },
    /// An artifact of other bytes is there.
    #[error(
        "the gateway has another {image} already: the scenario's, of seed {seed}, has other bytes, or another size, and an \
         artifact is never replaced. Take the seed and the sizes of the run that has left it there, give the image another \
         version, or let the run start a gateway of its own (without --url)"
    )]
    OtherArtifact {
        /// Which.
        image: ImageName,
        /// The scenario's.
        seed: u64,
        /// What the gateway says.
        source: Box<ApiError>,
    },
    /// It is not as it should be for that.
    #[error("the gateway is {state} and cannot be {what}")]
    State {
        /// `running`, `not running`.
        state: &'static str,
        /// What was asked of it.
        what: &'static str,
    },
    /// Files cannot be made.
    #[error("the gateway's folder {} cannot be prepared", folder.display())]
    Folder {
        /// Which.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no process.
    #[error("the gateway's process cannot be started from {}", program.display())]
    Program {
        /// The executable.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It ended by itself.
    #[error("the gateway ended by itself ({status}); the end of its log:\n{tail}")]
    Ended {
        /// How.
        status: ExitStatus,
        /// Its last lines.
        tail: String,
    },
    /// It runs and takes no work.
    #[error("the gateway is not ready after {} s: {why}; the end of its log:\n{tail}", after.as_secs())]
    NotReady {
        /// How long it was waited for.
        after: Duration,
        /// What it says.
        why: String,
        /// Its last lines.
        tail: String,
    },
    /// The run is over.
    #[error("the run was ended while the gateway was starting")]
    GivenUp,
    /// It does not stop.
    #[error("the gateway has not stopped {} s after SIGTERM, and was killed", after.as_secs())]
    NotStopped {
        /// How long it was waited for.
        after: Duration,
    },
    /// Its data cannot be kept.
    #[error("the gateway's data cannot be copied from its disk to {}", kept.display())]
    NotKept {
        /// Where to.
        kept: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It has no disk of its own.
    #[error("the gateway has no disk of its own that could be {what}: give it one (disk, in [gateway])")]
    NoDisk {
        /// `filled`, `emptied`.
        what: &'static str,
    },
    /// Its disk does not do as told.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Certificates.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// Its API does not do as told.
    #[error(transparent)]
    Api(Box<ApiError>),
}

impl Gateway {
    /// Starts one in a folder, as a process of this executable, and waits until it takes work, or nobody wants it any more.
    pub fn start(
        plan: &GatewayPlan,
        folder: &Path,
        given_up: &Arc<AtomicBool>,
    ) -> Result<Self, GatewayError> {
        // Not by its path: that may be another build's by now.
        let program = PathBuf::from("/proc/self/exe");
        Self::start_program(&program, plan, folder, given_up)
    }

    /// The same by an executable of this package that has another path.
    pub fn start_program(
        program: &Path,
        plan: &GatewayPlan,
        folder: &Path,
        given_up: &Arc<AtomicBool>,
    ) -> Result<Self, GatewayError> {
        let prepared = |source| GatewayError::Folder {
            folder: folder.to_owned(),
            source,
        };
        fs::create_dir_all(folder).map_err(prepared)?;
        // The gateway has a working directory of its own in another namespace.
        let folder = folder.canonicalize().map_err(prepared)?;
        let ca = Authority::new("Gateway CA of a simulated fleet")?;
        let own = ca.server("localhost", &[IpAddr::V4(Ipv4Addr::LOCALHOST)])?;
        fs::write(folder.join(CERTIFICATE), own.certificate_pem()).map_err(prepared)?;
        fs::write(folder.join(CERTIFICATE_KEY), own.key_pem()).map_err(prepared)?;
        let disk = plan
            .disk
            .map(|bytes| Disk::mount(program, &folder.join("disk"), bytes))
            .transpose()?;

        let (coaps_port, admin_port) = (free_port().map_err(prepared)?, free_port().map_err(prepared)?);
        let coaps = SocketAddr::from((Ipv4Addr::LOCALHOST, coaps_port));
        let url = format!("http://127.0.0.1:{admin_port}");
        let key = format!("{:032x}", rand::random::<u128>());
        let mut gateway = Self {
            api: Api::new(&url, &key),
            meter: Meter::new(&url, &key, None),
            url,
            coaps,
            ours: Some(Ours {
                program: program.to_owned(),
                folder,
                plan: plan.clone(),
                admin_port,
                key,
                server_ca: ca.pem(),
                disk,
                process: None,
                given_up: Arc::clone(given_up),
            }),
        };
        gateway.start_again(None)?;
        Ok(gateway)
    }

    /// Takes one that somebody else has started; with its process, if that is on this machine and may be looked at.
    pub fn attach(url: &str, key: &str, coaps: SocketAddr, pid: Option<u32>) -> Result<Self, GatewayError> {
        let url = url.trim_end_matches('/');
        let is_callable = url.strip_prefix("http://").is_some_and(|rest| {
            !rest.is_empty() && !rest.contains('/') && ureq::http::Uri::try_from(url).is_ok()
        });
        if !is_callable {
            return Err(GatewayError::Url { url: url.to_owned() });
        }
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(GatewayError::Key);
        }
        Ok(Self {
            api: Api::new(url, key),
            meter: Meter::new(url, key, pid),
            url: url.to_owned(),
            coaps,
            ours: None,
        })
    }

    /// Where devices reach it.
    pub fn coaps(&self) -> SocketAddr {
        self.coaps
    }

    /// Where its API is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The admin key of its API, if this run has given it one.
    #[allow(
        dead_code,
        reason = "tests/gateway.rs asks the gateway as somebody else would"
    )]
    pub fn key(&self) -> Option<&str> {
        self.ours.as_ref().map(|ours| ours.key.as_str())
    }

    /// Its process, while this run has one.
    #[allow(dead_code, reason = "tests/gateway.rs looks at the process")]
    pub fn pid(&self) -> Option<u32> {
        let process = self.ours.as_ref()?.process.as_ref()?;
        Some(process.child.id())
    }

    /// Whether the process that this run has started is there; of one of somebody else nothing is known, and this is true.
    pub fn runs(&self) -> bool {
        self.ours.as_ref().is_none_or(|ours| {
            let process = ours.process.as_ref();
            process.is_some_and(|process| !process.has_ended())
        })
    }

    /// Its API, to be called from another thread.
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// What looks at it, to be used from another thread.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Tells it of the scenario's packages, cohorts and devices. Nothing is changed at a gateway of somebody else where that would
    /// be felt by devices that are not the run's.
    pub fn set_up(
        &self,
        scenario: &Scenario,
        devices: &[DevicePlan],
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Credentials, GatewayError> {
        if self.ours.is_none() {
            set_up::touches_nobody_else(&self.api, scenario, devices)?;
        }
        let (devices, deployed) = set_up::set_up(&self.api, scenario, devices, progress)?;
        Ok(Credentials {
            devices,
            deployed,
            server_ca: self.ours.as_ref().map(|ours| ours.server_ca.clone()),
        })
    }

    /// The gateway as it is; `None` while it does not answer within a second.
    #[allow(dead_code, reason = "tests/gateway.rs looks at it without a run")]
    pub fn figures(&self) -> Option<Figures> {
        self.meter.figures()
    }

    /// Kills it (`SIGKILL`).
    pub fn kill(&mut self) -> Result<(), GatewayError> {
        let meter = self.meter.clone();
        self.ours("killed")?.end("killed", Signal::SIGKILL, &meter)
    }

    /// Tells it to stop (`SIGTERM`), and waits until it has.
    pub fn stop(&mut self) -> Result<(), GatewayError> {
        let meter = self.meter.clone();
        self.ours("stopped")?.end("stopped", Signal::SIGTERM, &meter)
    }

    /// Starts it again on the same ports and data, from then on with so many shards, and waits until it takes work.
    pub fn start_again(&mut self, shards: Option<u16>) -> Result<(), GatewayError> {
        let (coaps, api, meter) = (self.coaps, self.api.clone(), self.meter.clone());
        let ours = self.ours("started")?;
        if shards.is_some() {
            ours.plan.shards = shards;
        }
        ours.begin(coaps, &api, &meter)
    }

    /// Fills its disk to the last byte; returns how many that took.
    pub fn fill_disk(&mut self) -> Result<u64, GatewayError> {
        Ok(self.ours("filled")?.disk("filled")?.fill()?)
    }

    /// Takes away what filled its disk.
    pub fn empty_disk(&mut self) -> Result<(), GatewayError> {
        Ok(self.ours("emptied")?.disk("emptied")?.empty()?)
    }

    /// Ends it, and copies its data to its folder where they are on a disk that goes with it.
    pub fn keep_data(&mut self) -> Result<(), GatewayError> {
        let Some(ours) = &mut self.ours else {
            return Ok(());
        };
        // Files that somebody writes cannot be copied.
        ours.process = None;
        let Some(disk) = &ours.disk else {
            return Ok(());
        };
        let kept = ours.folder.join("data");
        disk.copy_data(&kept)
            .map_err(|source| GatewayError::NotKept { kept, source })
    }

    fn ours(&mut self, what: &'static str) -> Result<&mut Ours, GatewayError> {
        let url = &self.url;
        self.ours.as_mut().ok_or_else(|| GatewayError::NotOurs {
            url: url.clone(),
            what,
        })
    }
}

impl Ours {
    fn begin(&mut self, coaps: SocketAddr, api: &Api, meter: &Meter) -> Result<(), GatewayError> {
        if self.process.is_some() {
            return Err(GatewayError::State {
                state: "running",
                what: "started",
            });
        }
        let log = File::options().create(true).append(true).open(self.log());
        let log = log.map_err(|source| GatewayError::Folder {
            folder: self.folder.clone(),
            source,
        })?;
        let mut command = self.command(coaps);
        let started = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        let mut child = started.map_err(|source| GatewayError::Program {
            program: self.program.clone(),
            source,
        })?;
        meter.started(child.id());
        self.process = Some(Process {
            _life: child.stdin.take(),
            child,
        });
        let begun = clock::now();
        loop {
            let why = match api.ready() {
                Ok(()) => return Ok(()),
                Err(why) => why,
            };
            self.still_runs(meter)?;
            if self.given_up.load(Ordering::Relaxed) {
                self.end("started", Signal::SIGKILL, meter)?;
                return Err(GatewayError::GivenUp);
            }
            let after = clock::now() - begun;
            if after > PATIENCE {
                self.end("started", Signal::SIGKILL, meter)?;
                return Err(GatewayError::NotReady {
                    after,
                    why,
                    tail: self.tail(),
                });
            }
            thread::sleep(LOOK);
        }
    }

    fn command(&self, coaps: SocketAddr) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("serve-gateway");
        let data = match &self.disk {
            Some(disk) => {
                command.args(["--disk-of", &disk.keeper().to_string()]);
                disk.data_dir()
            }
            None => self.folder.join("data"),
        };
        // What is set for some other gateway on this machine is not for this one.
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"TESSERA") {
                command.env_remove(name);
            }
        }
        let mut set = |key: &str, value: &std::ffi::OsStr| {
            command.env(
                format!("TESSERA__{}", key.replace('.', "__").to_uppercase()),
                value,
            );
        };
        // An artifact may be as large as a device can address.
        set("admin.max_artifact_bytes", "1GiB".as_ref());
        for (key, value) in &self.plan.config {
            set(key, value.as_ref());
        }
        // A checked scenario has none of these.
        set("coaps.certificate_file", self.folder.join(CERTIFICATE).as_ref());
        set(
            "coaps.private_key_file",
            self.folder.join(CERTIFICATE_KEY).as_ref(),
        );
        set("data.dir", data.as_ref());
        set("coaps.listen", coaps.to_string().as_ref());
        set("admin.listen", format!("127.0.0.1:{}", self.admin_port).as_ref());
        set("admin.bootstrap_key", self.key.as_ref());
        if let Some(shards) = self.plan.shards {
            set("runtime.shards", shards.to_string().as_ref());
        }
        // The terminal's Ctrl-C is for the simulator, which has its last words with the gateway and ends it.
        command.process_group(0);
        command
    }

    /// An error if it has ended by itself.
    fn still_runs(&mut self, meter: &Meter) -> Result<(), GatewayError> {
        match &self.process {
            Some(process) if !process.has_ended() => Ok(()),
            Some(_) => {
                let status = self.reap(meter);
                Err(self.ended(status))
            }
            None => Ok(()),
        }
    }

    fn end(&mut self, what: &'static str, signal: Signal, meter: &Meter) -> Result<(), GatewayError> {
        if self.process.is_none() {
            return Err(GatewayError::State {
                state: "not running",
                what,
            });
        }
        self.still_runs(meter)?;
        // The last look at its counters.
        meter.figures();
        let after = self.signal(signal);
        let Some(after) = after else {
            let status = self.reap(meter);
            let as_told = match signal {
                Signal::SIGTERM => status.success(),
                _ => true,
            };
            return if as_told { Ok(()) } else { Err(self.ended(status)) };
        };
        self.signal(Signal::SIGKILL);
        self.reap(meter);
        Err(GatewayError::NotStopped { after })
    }

    /// Sends it a signal and waits for its end; if that does not come, returns how long it was waited for.
    fn signal(&self, signal: Signal) -> Option<Duration> {
        let process = self.process.as_ref()?;
        // It has not been reaped, so its number is nobody else's. One that has ended takes no signal, and needs none.
        let _ = kill(process.pid(), signal);
        let begun = clock::now();
        while !process.has_ended() {
            let after: Duration = clock::now() - begun;
            if after > PATIENCE {
                return Some(after);
            }
            thread::sleep(LOOK);
        }
        None
    }

    /// Counts what a process has used that has ended, and lets the kernel forget it.
    fn reap(&mut self, meter: &Meter) -> ExitStatus {
        meter.ended();
        let process = self.process.take();
        process
            .and_then(|mut process| process.child.wait().ok())
            .unwrap_or_default()
    }

    fn ended(&self, status: ExitStatus) -> GatewayError {
        GatewayError::Ended {
            status,
            tail: self.tail(),
        }
    }

    fn disk(&self, what: &'static str) -> Result<&Disk, GatewayError> {
        self.disk.as_ref().ok_or(GatewayError::NoDisk { what })
    }

    fn log(&self) -> PathBuf {
        self.folder.join("gateway.log")
    }

    fn tail(&self) -> String {
        let log = fs::read(self.log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }
}

impl Process {
    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Without reaping it: as long as it is not, the kernel knows what it has used.
    fn has_ended(&self) -> bool {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        !matches!(waitid(Id::Pid(self.pid()), flags), Ok(WaitStatus::StillAlive))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // What has ended cannot be killed, and what was reaped is known to be.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that is free for UDP and TCP. It is below the range that the kernel gives to whoever does not care: devices have
/// ports of that, and one of them could take it while the gateway is away.
fn free_port() -> io::Result<u16> {
    for _ in 0..PORTS_TRIED {
        let port = rand::random_range(PORTS);
        let address = (Ipv4Addr::LOCALHOST, port);
        if UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok() {
            return Ok(port);
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AddrInUse,
        format!(
            "no port from {} to {} is free on 127.0.0.1",
            PORTS.start,
            PORTS.end - 1
        ),
    ))
}

const CERTIFICATE: &str = "gateway.pem";
const CERTIFICATE_KEY: &str = "gateway.key";
/// A gateway with a million sessions in its log reads for some ten seconds; beyond this nobody waits for it in earnest.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at a process.
const LOOK: Duration = Duration::from_millis(10);
/// What is shown of a log: a start that fails says why in a line or two, after some others.
const TAIL_LINES: usize = 12;
const PORTS: std::ops::Range<u16> = 20_000..32_000;
const PORTS_TRIED: usize = 1000;
