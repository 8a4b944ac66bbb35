//! The composition root: the only module that knows everyone.
//!
//! 1. [`Gateway::start`] builds from the bottom up and fails early, with the port or the folder and the reason.
//! 2. While it runs, followers turn what `control` committed, what time has ended and what became of the gateway's own certificate
//!    into what the shards must look at again.
//! 3. [`Gateway::stop`] drains: not ready, no new handshakes, answer what is in flight, end.

mod certificate;
mod small_file;
mod tls;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use tracing::{info, warn};
use zeroize::Zeroizing;

use certificate::{CertificateFileError, CertificateFiles};
use tls::{TlsFileError, TlsFiles};

use crate::admin::{self, AdminState, Console, Reached, Readiness, Tls};
use crate::clock;
use crate::config::{Config, LogFormat, MetricsAuth};
use crate::control::{Change, Control, ControlError, CreatedKey, DeviceEntry, Options};
use crate::device_api::{DeviceApi, Keys, credential_key, device_key};
use crate::store::{SessionLog, Store, StoreError};
use crate::telemetry::{self, LogOptions};
use crate::transport::{
    BindError, Bound, ServerCertificate, ServerConfig, SessionJournal, ShardPanicked, Shards, StartError,
    Timers, TransportConfig, Upstairs, Wake, instead,
};

/// Why the gateway did not start, or ended.
#[derive(Debug, Error)]
pub enum Error {
    /// The log cannot be written as configured.
    #[error("cannot set up logging")]
    Logging(#[from] telemetry::LoggingError),
    /// No threads to run on.
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    /// The data folder or what is in it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The fleet's state cannot be read, or the first key cannot be written.
    #[error("cannot load the fleet")]
    Control(#[from] ControlError),
    /// The gateway's own certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateFileError),
    /// The operators' TLS.
    #[error(transparent)]
    Tls(#[from] TlsFileError),
    /// The operators' port.
    #[error("cannot listen on TCP port {} of {} (admin.listen){}", address.port(), address.ip(), instead(source))]
    AdminBind {
        /// Where the API was to listen.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// A devices' port.
    #[error("cannot listen for devices as {key} says")]
    Bind {
        /// The key of the configuration that asks for it.
        key: &'static str,
        /// The port and the reason.
        source: BindError,
    },
    /// The shards.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A shard ended by itself: its devices are left alone, so the process ends and is started again.
    #[error("a shard ended by itself; its devices would be left alone")]
    ShardEnded,
    /// A shard panicked.
    #[error(transparent)]
    Shard(#[from] ShardPanicked),
    /// The writer ended by itself: nothing that devices or operators say would be kept.
    #[error("the writer of the fleet's state ended by itself; nothing would be kept any more")]
    WriterEnded,
    /// The operators' listener failed.
    #[error("the API's listener failed")]
    Admin(#[source] io::Error),
}

/// A gateway that serves devices and operators.
#[derive(Debug)]
pub struct Gateway {
    control: Control,
    shards: Arc<Shards<Arc<DeviceEntry>>>,
    readiness: Readiness,
    admin: JoinHandle<io::Result<()>>,
    followers: Vec<JoinHandle<()>>,
    stopping: watch::Sender<bool>,
    console: Console,
    reached: Reached,
    /// Where operators find it.
    pub admin_addr: SocketAddr,
    /// Where devices find it: DTLS first, then plain.
    pub device_addrs: Vec<SocketAddr>,
    /// The first admin key, if this start made it: shown this once.
    pub first_admin_key: Option<CreatedKey>,
}

impl Gateway {
    /// Opens the data folder, binds every port, and serves.
    ///
    /// # Errors
    /// What cannot be had is named: the folder, the port, the reason.
    pub async fn start(config: &Config) -> Result<Gateway, Error> {
        let metrics = telemetry::install_metrics();
        let files = CertificateFiles::of(&config.coaps);
        // Before they are read: a change from then on is noticed.
        let shown = files.as_ref().map(CertificateFiles::stamps);
        let certificate = files.as_ref().map(CertificateFiles::read).transpose()?;
        if let Some(certificate) = &certificate {
            certificate::show(certificate);
        }
        let tls_files = TlsFiles::of(&config.admin);
        let tls_shown = tls_files.as_ref().map(TlsFiles::stamps);
        let tls = tls_files.as_ref().map(TlsFiles::read).transpose()?.map(Tls::new);
        let transport = transport_config(config, certificate);
        let dtls = transport.dtls.clone();
        // The folder's lock first, then every port, and only then anything that cannot be done twice, such as making the
        // first admin key.
        let store = Store::open(&config.data.dir).await?;
        let address = config.admin.listen;
        let refused = |source| Error::AdminBind { address, source };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let admin_addr = listener.local_addr().map_err(refused)?;
        let bound = Bound::open(transport).map_err(|source| {
            let plain = !config.coaps.listen.contains(&source.address);
            Error::Bind {
                key: if plain { "coap.listen" } else { "coaps.listen" },
                source,
            }
        })?;

        let bootstrap_key = config
            .admin
            .bootstrap_key
            .as_ref()
            .map(|key| key.expose().to_owned());
        let session_log = store.session_log();
        let started = Control::start(store, Options { bootstrap_key }).await?;
        let control = started.control;
        let upstairs = Upstairs {
            handler: Arc::new(DeviceApi::new(control.clone())),
            keys: Arc::new(Keys::new(control.clone(), tokio::runtime::Handle::current())),
            journal: Some(Box::new(session_log)),
        };
        let device_addrs = bound.local_addrs();
        let changes = control.changes();
        let shards = Arc::new(bound.start(upstairs)?);
        let mut followers = vec![
            tokio::spawn(follow(changes, control.clone(), Arc::clone(&shards))),
            tokio::spawn(follow_expiry(control.clone(), Arc::clone(&shards))),
        ];
        if let (Some(files), Some(shown)) = (files, shown) {
            followers.push(tokio::spawn(files.follow(shown, dtls, Arc::clone(&shards))));
        }
        if let (Some(files), Some(shown), Some(tls)) = (tls_files, tls_shown, &tls) {
            followers.push(tokio::spawn(files.follow(shown, tls.clone())));
        }

        let reached = match (&tls, config.admin.insecure_plaintext) {
            (Some(_), _) => Reached::Tls,
            (None, false) => Reached::PlainHere,
            (None, true) => Reached::PlainAnywhere,
        };
        let readiness = Readiness::default();
        let console = Console::default();
        let state = AdminState {
            devices_port: device_addrs.first().map(SocketAddr::port),
            console: console.clone(),
            control: control.clone(),
            metrics,
            metrics_auth: config.admin.metrics_auth == MetricsAuth::Key,
            max_artifact_bytes: config.admin.max_artifact_bytes,
            readiness: readiness.clone(),
            guard: admin::Guard::default(),
            reached,
        };
        let (stopping, mut stopped) = watch::channel(false);
        let shutdown = async move {
            // An error means that the gateway was dropped.
            let _ = stopped.wait_for(|stopped| *stopped).await;
        };
        let admin = tokio::spawn(admin::serve(
            listener,
            admin::router(state),
            config.admin.max_connections,
            tls,
            shutdown,
        ));
        readiness.set(true);
        Ok(Gateway {
            control,
            shards,
            readiness,
            admin,
            followers,
            stopping,
            console,
            reached,
            admin_addr,
            device_addrs,
            first_admin_key: started.first_admin_key,
        })
    }

    /// The fleet, for whoever runs in the same process.
    #[must_use]
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// An address of the console that signs one browser in with the first key that administers: once, and not for long.
    /// `None` if the gateway has no such key.
    #[must_use]
    pub fn sign_in_link(&self) -> Option<String> {
        let path = self.console.sign_in_path(&self.control)?;
        Some(format!("{}{path}", console_origin(self.reached, self.admin_addr)))
    }

    /// Returns when a part of the gateway has ended that should not have.
    pub async fn failed(&mut self) -> Error {
        tokio::select! {
            () = self.shards.ended() => Error::ShardEnded,
            () = self.control.ended() => Error::WriterEnded,
            ended = &mut self.admin => match ended {
                Ok(Ok(())) => Error::Admin(io::Error::other("it ended")),
                Ok(Err(error)) => Error::Admin(error),
                Err(panic) => Error::Admin(io::Error::other(panic)),
            },
        }
    }

    /// Drains and ends: not ready, no new handshakes, what is in flight is answered, what is queued is committed.
    ///
    /// # Errors
    /// A shard had panicked.
    pub async fn stop(self) -> Result<(), Error> {
        self.readiness.set(false);
        self.shards.stop_accepting();
        self.stopping.send_replace(true);
        if !self.admin.is_finished() {
            let abort = self.admin.abort_handle();
            if tokio::time::timeout(ADMIN_DRAIN, self.admin).await.is_err() {
                warn!(after = ?ADMIN_DRAIN, "calls to the API were still under way and were cut off");
                abort.abort();
            }
        }
        self.shards.drain(clock::now() + DEVICE_DRAIN);
        for follower in self.followers {
            follower.abort();
            let _ = follower.await;
        }
        let joined = match Arc::try_unwrap(self.shards) {
            Ok(shards) => tokio::task::spawn_blocking(|| shards.join()).await,
            Err(_) => Ok(Ok(())),
        };
        self.control.close().await;
        match joined {
            Ok(Ok(())) => Ok(()),
            Ok(Err(panicked)) => Err(panicked.into()),
            Err(panic) => Err(Error::Runtime(io::Error::other(panic))),
        }
    }
}

/// Where a browser on this machine finds the console.
fn console_origin(reached: Reached, listener: SocketAddr) -> String {
    let scheme = match reached {
        Reached::Tls => "https",
        Reached::PlainHere | Reached::PlainAnywhere => "http",
    };
    let host: IpAddr = match listener.ip() {
        IpAddr::V4(any) if any.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(any) if any.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        named => named,
    };
    format!("{scheme}://{}", SocketAddr::new(host, listener.port()))
}

/// Reads the files that the configuration names as [`Gateway::start`] does, and keeps nothing of them.
///
/// # Errors
/// What would keep the gateway from starting.
pub fn check_files(config: &Config) -> Result<(), Error> {
    if let Some(files) = CertificateFiles::of(&config.coaps) {
        files.read()?;
    }
    if let Some(files) = TlsFiles::of(&config.admin) {
        files.read()?;
    }
    Ok(())
}

/// `tessera serve`: until SIGTERM or SIGINT; a second one ends the process at once.
///
/// # Errors
/// What keeps the gateway from starting, or made it end.
pub fn serve(config: Config) -> Result<(), Error> {
    telemetry::init_tracing(&LogOptions {
        format: match config.log.format {
            LogFormat::Text => telemetry::LogFormat::Text,
            LogFormat::Json => telemetry::LogFormat::Json,
        },
        filter: config.log.filter.clone(),
    })?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Error::Runtime)?;
    let ended = runtime.block_on(run(&config));
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

async fn run(config: &Config) -> Result<(), Error> {
    // Before anything is acknowledged: a SIGTERM during the start drains too.
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Runtime)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Runtime)?;
    let mut gateway = Gateway::start(config).await?;
    for (address, asked) in gateway.device_addrs.iter().zip(
        config
            .coaps
            .listen
            .iter()
            .map(Some)
            .chain(std::iter::repeat(None)),
    ) {
        match asked {
            Some(_) => info!(%address, "listening for devices: CoAP over DTLS"),
            None => {
                warn!(%address, "listening for devices WITHOUT SECURITY: anybody who reaches this port can pose as any device")
            }
        }
    }
    let tls = config.admin.tls_cert_file.is_some();
    let console = console_origin(gateway.reached, gateway.admin_addr);
    info!(%console, address = %gateway.admin_addr, tls, folder = %config.data.dir.display(), "listening for operators");
    if !tls && !gateway.admin_addr.ip().to_canonical().is_loopback() {
        warn!(
            "the API speaks plain HTTP beyond this machine (admin.insecure_plaintext): API keys are readable on the way"
        );
    }
    if let Some(first) = &gateway.first_admin_key {
        // Not into the log, which is kept: to whoever started the program.
        eprintln!("\nThe first admin key, shown this once: {}\n", first.text);
    }
    let mut asked_to_end = async || {
        tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
    };
    let failed = tokio::select! {
        () = asked_to_end() => None,
        failure = gateway.failed() => Some(failure),
    };
    info!("draining");
    tokio::select! {
        stopped = gateway.stop() => match (failed, stopped) {
            (Some(failure), _) => Err(failure),
            (None, stopped) => stopped.inspect(|()| info!("ended")),
        },
        () = asked_to_end() => {
            warn!("ended at once, as asked twice");
            Ok(())
        }
    }
}

/// What the transport keeps of its sessions goes into the data folder, sealed.
impl SessionJournal for SessionLog {
    fn read(&mut self, each: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<u64> {
        self.read(each)
    }

    fn rewrite(&mut self, entries: &mut dyn Iterator<Item = Zeroizing<Vec<u8>>>) -> io::Result<()> {
        self.rewrite(entries)
    }

    fn append(&mut self, entry: &[u8]) -> io::Result<()> {
        self.append(entry)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync()
    }

    fn clear(&mut self) -> io::Result<()> {
        self.clear()
    }

    fn size(&self) -> u64 {
        self.size()
    }
}

/// Turns what was committed into what the shards must look at again.
async fn follow(
    mut changes: broadcast::Receiver<Change>,
    control: Control,
    shards: Arc<Shards<Arc<DeviceEntry>>>,
) {
    let mut retirements_missed = false;
    loop {
        match changes.recv().await {
            Ok(change) => match change {
                Change::CohortDeployed { .. } => shards.wake(Wake::Everyone),
                Change::DeviceMoved(device) => shards.wake(Wake::Devices(vec![device_key(device)])),
                Change::DevicePush(device) => shards.wake(Wake::Push(device_key(device))),
                Change::DeviceDisabled(device) | Change::DeviceDeleted(device) => {
                    shards.disconnect(device_key(device));
                }
                Change::CredentialRetired { device, credential } => {
                    shards.retire(device_key(device), credential_key(credential));
                }
                Change::CredentialsRetired(retired) => {
                    for &(device, credential) in retired.iter() {
                        shards.retire(device_key(device), credential_key(credential));
                    }
                }
                Change::DeviceUnassigned(_) | Change::DeviceEnabled(_) | Change::ReportsStored(_) => {}
            },
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                warn!(
                    missed,
                    "the shards lag behind the commits: every device is looked at"
                );
                shards.wake(Wake::Everyone);
                for device in control.unwelcome() {
                    shards.disconnect(device_key(device));
                }
                retirements_missed = true;
            }
            Err(broadcast::error::RecvError::Closed) => return,
        }
        if retirements_missed {
            match control.retired_in_use().await {
                Ok(retired) => {
                    for (device, credential) in retired {
                        shards.retire(device_key(device), credential_key(credential));
                    }
                    retirements_missed = false;
                }
                // Asked again after the next change.
                Err(error) => warn!(%error, "which credentials were retired cannot be read"),
            }
        }
    }
}

/// Ends the sessions of devices whose certificates have come to the end of their validity.
async fn follow_expiry(control: Control, shards: Arc<Shards<Arc<DeviceEntry>>>) {
    // The last second of a validity belongs to it. Sessions of before the start were looked at when they were restored.
    let expired_s = || clock::unix_ms() / 1000 - 1;
    let mut looked_at_s = expired_s();
    loop {
        tokio::time::sleep(EXPIRY_EVERY).await;
        let until_s = expired_s();
        match control.expired_in_use(looked_at_s, until_s).await {
            Ok(expired) => {
                for (device, credential) in expired {
                    info!(%device, %credential, "a certificate has expired; its session ends");
                    shards.retire(device_key(device), credential_key(credential));
                }
                looked_at_s = until_s;
            }
            // Asked again for the whole of the time.
            Err(error) => warn!(%error, "which certificates have expired cannot be read"),
        }
    }
}

fn transport_config(config: &Config, certificate: Option<Arc<ServerCertificate>>) -> TransportConfig {
    TransportConfig {
        coaps: config.coaps.listen.clone(),
        coap: config.coap.listen.clone(),
        shards: config.runtime.shards.map_or(0, usize::from),
        max_sessions: config.coaps.max_sessions,
        idle: config.coaps.idle_timeout,
        idle_with_cid: config.coaps.idle_timeout_cid,
        max_handshakes: config.coaps.max_handshakes,
        dtls: ServerConfig {
            timers: Timers {
                initial: config.coaps.handshake_initial_timeout,
                max: config.coaps.handshake_max_timeout,
                // DTLS.md 1: 60 s, or four first waits where the network is so slow that they are more.
                deadline: Timers::default()
                    .deadline
                    .max(4 * config.coaps.handshake_initial_timeout),
            },
            certificate,
            raw_public_keys: config.coaps.raw_public_keys,
            ..ServerConfig::default()
        },
        ..TransportConfig::default()
    }
}

/// How long a session may outlive the certificate that opened it. A guess: validities are years.
const EXPIRY_EVERY: Duration = Duration::from_secs(30);
/// How long calls under way may take to end: the whole of a stop stays below the 10 s after which supervisors kill.
const ADMIN_DRAIN: Duration = Duration::from_secs(3);
/// How long devices may take to be answered.
const DEVICE_DRAIN: Duration = Duration::from_secs(4);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_to_the_console_speaks_what_the_listener_speaks_and_leads_to_this_machine() {
        for (reached, listener, origin) in [
            (Reached::PlainHere, "127.0.0.1:8080", "http://127.0.0.1:8080"),
            (Reached::Tls, "127.0.0.1:8080", "https://127.0.0.1:8080"),
            (Reached::Tls, "0.0.0.0:443", "https://127.0.0.1:443"),
            (Reached::PlainAnywhere, "[::]:8080", "http://[::1]:8080"),
            (Reached::PlainAnywhere, "192.0.2.1:8080", "http://192.0.2.1:8080"),
        ] {
            let listener = listener.parse().expect("an address");
            assert_eq!(console_origin(reached, listener), origin);
        }
    }

    #[test]
    fn a_handshake_may_take_a_minute_or_four_first_waits() {
        for (initial_s, deadline_s) in [(1, 60), (9, 60), (20, 80)] {
            let mut config = Config::default();
            config.coaps.handshake_initial_timeout = Duration::from_secs(initial_s);
            let timers = transport_config(&config, None).dtls.timers;
            assert_eq!(timers.deadline, Duration::from_secs(deadline_s));
        }
    }
}
