//! A shard without sockets, thread and clock: for whoever brings a wire and a time of his own, as the simulations do.
//!
//! It is the shard that a gateway runs, and what is upstairs is as real. Only what comes from up there takes real time:
//! [`Unplugged::settled`] waits for it, so that no virtual second passes during a commit.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::thread::JoinHandle;
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::directory::{Directory, Kind};
use super::handler::{Handler, KeySource};
use super::inbox::{Inbox, Mailbox, mailbox};
use super::journal;
use super::shard::{Shard, Surroundings};
use super::shards::{StartError, TransportConfig, Upstairs, Wake, post_wake};
use super::udp::{Path, SendQueue};
use crate::dtls::CookieJar;

/// One shard that speaks DTLS at one address, and what it would have had from its thread.
pub struct Unplugged<H: Handler, K> {
    shard: Shard<H, K>,
    inbox: Inbox<H::Device>,
    mailboxes: Vec<Mailbox<H::Device>>,
    directory: Arc<Directory>,
    journal: Option<JoinHandle<()>>,
    local: IpAddr,
    out: SendQueue,
    outbox: VecDeque<(SocketAddr, Vec<u8>)>,
}

/// What time it is, by both kinds of clock.
#[derive(Clone, Copy, Debug)]
pub struct Time {
    /// For timers.
    pub now: Instant,
    /// For what is told to people, in milliseconds since 1970.
    pub unix_ms: i64,
}

impl<H: Handler, K: KeySource<Device = H::Device>> Unplugged<H, K> {
    /// A shard at `local`, with the sessions that the log of an earlier one holds. `seed` decides its random choices.
    ///
    /// # Errors
    /// When the session log cannot be used.
    pub fn start(
        local: SocketAddr,
        config: &TransportConfig,
        upstairs: Upstairs<H, K>,
        time: Time,
        seed: u64,
    ) -> Result<Self, StartError> {
        let (own, inbox) = mailbox();
        let mailboxes = vec![own];
        let directory = Arc::new(Directory::default());
        let (journal, journal_thread, restored) =
            journal::start_if_any(upstairs.journal, &mailboxes).map_err(StartError::Journal)?;
        let next_serial = journal::next_serial(&restored);
        let mut rng = StdRng::seed_from_u64(seed);
        let mut secret = [0; 32];
        rng.fill_bytes(&mut secret);
        let surroundings = Surroundings {
            index: 0,
            handler: upstairs.handler,
            keys: upstairs.keys,
            cookies: CookieJar::new(secret, time.now),
            dtls: Arc::new(config.dtls.clone()),
            directory: directory.clone(),
            mailboxes: mailboxes.clone(),
            journal,
            serials: Arc::new(AtomicU64::new(next_serial)),
            sessions: Arc::new(AtomicUsize::new(0)),
            kinds: vec![Kind::Secure],
            locals: vec![local],
            max_sessions: config.max_sessions,
            idle: config.idle.max(TransportConfig::IDLE_MIN),
            idle_with_cid: config.idle_with_cid.max(TransportConfig::IDLE_MIN),
            max_handshakes: config.max_handshakes,
            max_plain_peers: config.max_plain_peers,
            rng,
        };
        let mut shard = Shard::new(surroundings, time.now);
        shard.set_time(time.now, time.unix_ms);
        shard.restore(time.now, restored);
        Ok(Self {
            shard,
            inbox,
            mailboxes,
            directory,
            journal: journal_thread,
            local: local.ip(),
            out: SendQueue::new(),
            outbox: VecDeque::new(),
        })
    }

    /// Takes a datagram.
    pub fn handle_datagram(&mut self, time: Time, peer: SocketAddr, datagram: &mut [u8]) {
        self.shard.set_time(time.now, time.unix_ms);
        let path = Path {
            peer,
            local: self.local,
            listener: 0,
        };
        self.shard.handle_datagram(path, datagram, &mut self.out);
        self.turn();
    }

    /// To be called at [`Self::poll_timeout`]; earlier does no harm.
    pub fn handle_timeout(&mut self, time: Time) {
        self.shard.set_time(time.now, time.unix_ms);
        self.turn();
    }

    /// What observers see may have changed.
    pub fn wake(&mut self, time: Time, wake: Wake) {
        post_wake(wake, time.now, &self.mailboxes, &self.directory);
        self.handle_timeout(time);
    }

    /// Waits until nothing is on its way from upstairs that the shard has asked for.
    pub async fn settled(&mut self) {
        self.turn();
        while self.shard.is_owed() {
            let Some(message) = self.inbox.messages.recv().await else {
                return;
            };
            self.shard.handle_message(message, &mut self.out);
            self.turn();
        }
    }

    /// The next datagram to send, and to whom.
    pub fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.outbox.pop_front()
    }

    /// When to call [`Self::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        self.shard.next_deadline()
    }

    /// Ends it without a word to anybody, as a crash would; what went to the session log is on disk. Blocks.
    pub fn kill(self) {
        let Self { shard, journal, .. } = self;
        drop(shard);
        if let Some(thread) = journal {
            // If it panicked it has said so.
            let _ = thread.join();
        }
    }

    /// A turn of the event loop, as often as there is something to do.
    fn turn(&mut self) {
        loop {
            while let Ok(message) = self.inbox.messages.try_recv() {
                self.shard.handle_message(message, &mut self.out);
            }
            let more = self.shard.handle_timers(BUDGET, &mut self.out)
                | self.shard.notify_observers(BUDGET, &mut self.out);
            for (path, bytes) in self.out.iter() {
                self.outbox.push_back((path.peer, bytes.to_vec()));
            }
            self.out.clear();
            if !more {
                return;
            }
        }
    }
}

impl<H: Handler, K> std::fmt::Debug for Unplugged<H, K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unplugged")
            .field("local", &self.local)
            .finish_non_exhaustive()
    }
}

/// Things done before what they wrote is taken away.
const BUDGET: usize = 128;
