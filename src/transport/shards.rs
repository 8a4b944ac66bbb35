//! The transport as the program sees it: bind, start, wake, stop.
//!
//! 1. [`Bound::open`] opens every socket, so that a taken port is known before anything starts.
//! 2. [`Bound::start`] spawns one thread per shard, each with its own socket on every listening address.
//! 3. [`Shards::wake`] tells them that what observers see may have changed.
//! 4. [`Shards::drain`] and [`Shards::join`] end it.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::Rng;
use rand::rngs::StdRng;
use thiserror::Error;
use tokio::sync::watch;
use tracing::{debug, warn};

use super::cids::thread_of;
use super::directory::{Directory, Kind};
use super::event_loop;
use super::handler::{Handler, KeySource};
use super::inbox::{Inbox, Mailbox, Message, mailbox};
use super::journal::{self, SessionJournal};
use super::shard::{Shard, Surroundings};
use super::udp::Socket;
use crate::clock;
use crate::dtls::{CookieJar, ServerConfig};

/// What the transport has to be told.
#[derive(Clone, Debug)]
pub struct TransportConfig {
    /// Addresses to listen on for CoAP over DTLS.
    pub coaps: Vec<SocketAddr>,
    /// Addresses to listen on for plain CoAP, which authenticates nobody.
    pub coap: Vec<SocketAddr>,
    /// How many shards; 0 for one per core.
    pub shards: usize,
    /// DTLS sessions kept. Beyond it the longest idle one of the shard that needs room goes.
    pub max_sessions: usize,
    /// A session not heard from for this long ends. Never less than [`TransportConfig::IDLE_MIN`].
    pub idle: Duration,
    /// The same for a session with a connection ID: its device finds it again wherever its network has put it meanwhile.
    pub idle_with_cid: Duration,
    /// Handshakes in flight, over all shards. Beyond it ClientHellos are dropped.
    pub max_handshakes: usize,
    /// Plain CoAP peers remembered, over all shards. Beyond it the longest idle one goes.
    pub max_plain_peers: usize,
    /// Cipher suites, handshake timers, and what the gateway shows of itself.
    pub dtls: ServerConfig,
}

/// Who else the transport talks to.
pub struct Upstairs<H, K> {
    /// Answers requests.
    pub handler: Arc<H>,
    /// Knows keys and names.
    pub keys: Arc<K>,
    /// Keeps sessions over a restart; without it every device has to shake hands again.
    pub journal: Option<Box<dyn SessionJournal>>,
}

/// All sockets open, nothing read yet.
pub struct Bound {
    config: TransportConfig,
    /// Each shard's sockets, in listener order.
    sockets: Vec<Vec<Socket>>,
    kinds: Vec<Kind>,
}

/// The running shards of one gateway.
pub struct Shards<D> {
    mailboxes: Vec<Mailbox<D>>,
    directory: Arc<Directory>,
    threads: Vec<JoinHandle<()>>,
    journal: Option<JoinHandle<()>>,
    running: watch::Receiver<usize>,
}

/// Whose view may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Everybody's: asks for every relation, at a pace that leaves requests their turn.
    Everyone,
    /// That of the devices with these keys.
    Devices(Vec<u64>),
    /// The device with this key is to get its view again even if it has not changed.
    Push(u64),
}

/// A socket that could not be opened.
#[derive(Debug, Error)]
#[error("cannot listen on UDP port {} of {}{}", address.port(), address.ip(), instead(source))]
pub struct BindError {
    /// Where the socket was to listen.
    pub address: SocketAddr,
    /// What the kernel said.
    pub source: io::Error,
}

/// What to do about a port that cannot be had, where that is known.
#[must_use]
pub fn instead(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrInUse => {
            "; stop what else listens there, another gateway or a demonstration, or choose another port"
        }
        _ => "",
    }
}

/// The shards could not be started.
#[derive(Debug, Error)]
pub enum StartError {
    /// No thread or no event loop to be had.
    #[error("cannot start a shard")]
    Shard(#[source] io::Error),
    /// The session log cannot be read or written.
    #[error("cannot use the session log")]
    Journal(#[source] io::Error),
}

impl Default for TransportConfig {
    fn default() -> Self {
        Self {
            coaps: Vec::new(),
            coap: Vec::new(),
            shards: 0,
            max_sessions: 1_000_000,
            idle: Duration::from_secs(24 * 3600),
            idle_with_cid: Duration::from_secs(30 * 24 * 3600),
            max_handshakes: 4096,
            max_plain_peers: 65_536,
            dtls: ServerConfig::default(),
        }
    }
}

impl TransportConfig {
    /// Devices count on a session of three hours (`CONTRACT.md` 1).
    pub const IDLE_MIN: Duration = Duration::from_secs(3 * 3600);
    /// Threads beyond this gain nothing on any machine we know of.
    pub const SHARDS_MAX: usize = 256;
}

impl<D: Send + 'static> Shards<D> {
    /// Tells the shards that observers may be due. Returns at once.
    pub fn wake(&self, wake: Wake) {
        post_wake(wake, clock::now(), &self.mailboxes, &self.directory);
    }

    /// Ends what the device has: its operator disabled it or took its credential. Every shard is asked, because a
    /// handshake in flight is in no directory.
    pub fn disconnect(&self, key: u64) {
        for mailbox in &self.mailboxes {
            mailbox.post(Message::Revoked { device: key });
        }
    }

    /// Ends the session that the device established with this credential, if it has one: the credential is no longer good. A
    /// session that another credential established goes on.
    pub fn retire(&self, key: u64, credential: u64) {
        for mailbox in &self.mailboxes {
            mailbox.post(Message::Retired {
                device: key,
                credential,
            });
        }
    }

    /// Handshakes that begin from here on follow this, and show its certificate; those in flight and sessions go on as they
    /// are.
    pub fn reconfigure(&self, dtls: ServerConfig) {
        let dtls = Arc::new(dtls);
        for mailbox in &self.mailboxes {
            mailbox.post(Message::Reconfigured(dtls.clone()));
        }
    }

    /// No handshakes from here on; sessions go on.
    pub fn stop_accepting(&self) {
        for mailbox in &self.mailboxes {
            mailbox.post(Message::StopAccepting);
        }
    }

    /// Answers what is in flight, at the latest until `deadline`, says goodbye to those that will not be restored, and
    /// ends the shards. Returns at once; [`Self::join`] waits.
    pub fn drain(&self, deadline: Instant) {
        for mailbox in &self.mailboxes {
            mailbox.post(Message::Drain { deadline });
        }
    }

    /// Returns when some shard has ended, which without [`Self::drain`] is a defect: its devices are left alone.
    pub async fn ended(&self) {
        let mut running = self.running.clone();
        let all = self.threads.len();
        // An error means that all of them are gone.
        let _ = running.wait_for(|running| *running < all).await;
    }

    /// Waits for every thread. To be called after [`Self::drain`]; blocks.
    ///
    /// # Errors
    /// When a shard had panicked.
    pub fn join(self) -> Result<(), ShardPanicked> {
        drop(self.mailboxes);
        let panicked = self
            .threads
            .into_iter()
            .chain(self.journal)
            .filter_map(|thread| thread.join().err())
            .count();
        if panicked == 0 {
            Ok(())
        } else {
            Err(ShardPanicked { panicked })
        }
    }
}

impl Bound {
    /// Opens all sockets of all shards.
    ///
    /// # Errors
    /// When an address cannot be listened on, because another process holds the port or for any other reason.
    pub fn open(config: TransportConfig) -> Result<Bound, BindError> {
        let shards = match config.shards {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            asked => asked,
        }
        .clamp(1, TransportConfig::SHARDS_MAX);
        let listeners: Vec<(SocketAddr, Kind)> = config
            .coaps
            .iter()
            .map(|address| (*address, Kind::Secure))
            .chain(config.coap.iter().map(|address| (*address, Kind::Plain)))
            .collect();
        let mut sockets: Vec<Vec<Socket>> =
            (0..shards).map(|_| Vec::with_capacity(listeners.len())).collect();
        for (asked, kind) in &listeners {
            // An IPv6 wildcard takes IPv4 too, unless somebody of ours listens there.
            let v6_only = listeners
                .iter()
                .any(|(other, _)| other.is_ipv4() && other.port() == asked.port());
            let refused = |source| BindError {
                address: *asked,
                source,
            };
            let address = notice_other_holder(*asked, v6_only).map_err(refused)?;
            for of_shard in &mut sockets {
                of_shard.push(Socket::bind(address, true, v6_only).map_err(refused)?);
            }
            if *kind == Kind::Secure
                && let Some(socket) = sockets.first().and_then(|sockets| sockets.last())
                && let Err(error) = socket.steer(shards as u16)
            {
                // What reaches the wrong shard is passed on.
                warn!(%address, %error, "the kernel does not steer by connection ID");
            }
        }
        let kinds = listeners.iter().map(|(_, kind)| *kind).collect();
        Ok(Bound {
            config,
            sockets,
            kinds,
        })
    }

    /// Where the gateway listens, in the configuration's order: DTLS first, then plain. Ports that were asked for as 0
    /// are the kernel's choice.
    #[must_use]
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.sockets
            .first()
            .map(|sockets| sockets.iter().map(Socket::local_addr).collect())
            .unwrap_or_default()
    }

    /// Starts the shards.
    ///
    /// # Errors
    /// When a thread cannot be had, or the session log cannot be used.
    pub fn start<H, K>(self, upstairs: Upstairs<H, K>) -> Result<Shards<H::Device>, StartError>
    where
        H: Handler,
        K: KeySource<Device = H::Device>,
    {
        let Self {
            config,
            sockets,
            kinds,
        } = self;
        let count = sockets.len();
        let local_addrs: Vec<_> = sockets[0].iter().map(Socket::local_addr).collect();
        let (mailboxes, inboxes): (Vec<_>, Vec<_>) = (0..count).map(|_| mailbox()).unzip();
        let directory = Arc::new(Directory::default());
        let (journal, journal_thread, restored) =
            journal::start_if_any(upstairs.journal, &mailboxes).map_err(StartError::Journal)?;
        let next_serial = journal::next_serial(&restored);
        let mut restored_by_shard: Vec<Vec<journal::RestoredPeer>> = (0..count).map(|_| Vec::new()).collect();
        for (index, peer) in restored.into_iter().enumerate() {
            let shard = match peer.session.connection_id() {
                Some(cid) => usize::from(thread_of(cid, count)),
                None => index % count,
            };
            restored_by_shard[shard].push(peer);
        }
        let mut rng: StdRng = rand::make_rng();
        let mut secret = [0; 32];
        rng.fill_bytes(&mut secret);
        let cookies = CookieJar::new(secret, clock::now());
        let dtls = Arc::new(config.dtls.clone());
        let serials = Arc::new(AtomicU64::new(next_serial));
        let sessions = Arc::new(AtomicUsize::new(0));
        let (running_tx, running) = watch::channel(count);
        let running_tx = Arc::new(running_tx);

        let mut shards = Vec::with_capacity(count);
        for (index, restored) in restored_by_shard.into_iter().enumerate() {
            let surroundings = Surroundings {
                index: index as u16,
                handler: upstairs.handler.clone(),
                keys: upstairs.keys.clone(),
                cookies: cookies.clone(),
                dtls: dtls.clone(),
                directory: directory.clone(),
                mailboxes: mailboxes.clone(),
                journal: journal.clone(),
                serials: serials.clone(),
                sessions: sessions.clone(),
                kinds: kinds.clone(),
                locals: local_addrs.clone(),
                max_sessions: config.max_sessions,
                idle: config.idle.max(TransportConfig::IDLE_MIN),
                idle_with_cid: config.idle_with_cid.max(TransportConfig::IDLE_MIN),
                max_handshakes: config.max_handshakes.div_ceil(count),
                max_plain_peers: config.max_plain_peers.div_ceil(count),
                rng: rand::make_rng(),
            };
            let mut shard = Shard::new(surroundings, clock::now());
            shard.restore(clock::now(), restored);
            shards.push(shard);
        }
        // Only when every restored session is in the directory may a shard read: it drops records of strangers.
        let mut threads = Vec::with_capacity(count);
        for (index, ((shard, sockets), inbox)) in shards.into_iter().zip(sockets).zip(inboxes).enumerate() {
            let ending = Ending(running_tx.clone());
            threads.push(spawn(index, shard, sockets, inbox, ending).map_err(StartError::Shard)?);
        }
        debug!(shards = count, listening = ?local_addrs, "shards started");
        Ok(Shards {
            mailboxes,
            directory,
            threads,
            journal: journal_thread,
            running,
        })
    }
}

impl std::fmt::Debug for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bound")
            .field("local_addrs", &self.local_addrs())
            .finish_non_exhaustive()
    }
}

impl<H, K> std::fmt::Debug for Upstairs<H, K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstairs")
            .field("journal", &self.journal.is_some())
            .finish_non_exhaustive()
    }
}

impl<D> std::fmt::Debug for Shards<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shards")
            .field("shards", &self.mailboxes.len())
            .finish_non_exhaustive()
    }
}

/// Leaves word with the shards that have the observers, of what has changed at `since`.
pub fn post_wake<D>(wake: Wake, since: Instant, mailboxes: &[Mailbox<D>], directory: &Directory) {
    let (keys, forced) = match wake {
        Wake::Everyone => {
            for mailbox in mailboxes {
                mailbox.post(Message::WakeEveryone { since });
            }
            return;
        }
        Wake::Devices(keys) => (keys, false),
        Wake::Push(key) => (vec![key], true),
    };
    let mut by_shard: HashMap<u16, Vec<_>> = HashMap::new();
    for place in keys.iter().flat_map(|key| directory.find(*key)) {
        by_shard.entry(place.shard).or_default().push(place.peer);
    }
    for (shard, peers) in by_shard {
        if let Some(mailbox) = mailboxes.get(usize::from(shard)) {
            mailbox.post(Message::WakePeers { peers, forced, since });
        }
    }
}

/// Shards that did not end as they should.
#[derive(Debug, Error)]
#[error("{panicked} of the transport's threads panicked")]
pub struct ShardPanicked {
    panicked: usize,
}

/// Counts a shard out, however it ends.
struct Ending(Arc<watch::Sender<usize>>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.send_modify(|running| *running -= 1);
    }
}

/// Opens a socket alone, to find out whether somebody else listens there, and closes it again. Returns the address with
/// its port, and the IPv4 wildcard where the IPv6 one was asked for on a machine without IPv6.
fn notice_other_holder(asked: SocketAddr, v6_only: bool) -> io::Result<SocketAddr> {
    match Socket::bind(asked, false, v6_only) {
        Ok(socket) => Ok(socket.local_addr()),
        Err(error) if asked.is_ipv6() && asked.ip().is_unspecified() && !v6_only && lacks_ipv6(&error) => {
            let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, asked.port()));
            warn!(%asked, listening = %v4, "this machine has no IPv6");
            Socket::bind(v4, false, false).map(|socket| socket.local_addr())
        }
        Err(error) => Err(error),
    }
}

fn lacks_ipv6(error: &io::Error) -> bool {
    use nix::errno::Errno;
    matches!(
        error.raw_os_error().map(Errno::from_raw),
        Some(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL | Errno::EPROTONOSUPPORT)
    )
}

fn spawn<H: Handler, K: KeySource<Device = H::Device>>(
    index: usize,
    mut shard: Shard<H, K>,
    sockets: Vec<Socket>,
    inbox: Inbox<H::Device>,
    ending: Ending,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    std::thread::Builder::new()
        .name(format!("shard-{index}"))
        .spawn(move || {
            let _ending = ending;
            if let Err(error) = runtime.block_on(event_loop::run(&mut shard, sockets, inbox)) {
                tracing::error!(%error, "a shard ended");
            }
        })
}
