//! Datagrams in, answers out: joins [`dtls`](crate::dtls) and [`coap`](crate::coap) to sockets, many peers to few threads.
//!
//! [`Bound::open`] opens the sockets, [`Bound::start`] starts a thread per core. Each owns its peers: a datagram's way through it takes no
//! lock. Who the peers are is a [`KeySource`]'s to say, what they get a [`Handler`]'s.
//!
//! - `shards`: bind, start, wake, stop.
//! - `event_loop`: a shard's thread. `udp`: batches of datagrams. `inbox`: how other threads reach it.
//! - `shard`: what happens to its peers, sans-IO. `slots`: where they are. `admission`: who may start a handshake.
//! - `unplugged`: a shard without sockets and thread, for simulations.
//! - `directory`: what the shards know of each other. `cids`: connection IDs, which say themselves where they lead; `steering` has
//!   the kernel see it too.
//! - `journal`: what of it outlives the process. `ranges`: how far ahead of their use record numbers are reserved there.

mod admission;
mod cids;
mod directory;
mod event_loop;
mod handler;
mod inbox;
mod journal;
mod ranges;
mod routability;
mod shard;
mod shards;
mod slots;
mod steering;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::print_stdout)]
mod testing;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod udp;
mod unplugged;

pub use crate::dtls::{
    AnchorError, CertificateFacts, CertifiedKeyError, ChainFault, CipherSuite, Claim, FailureReason,
    Identity, IdentityError, KeyDigest, PeerChain, Psk, PskError, ServerCertificate, ServerConfig, Timers,
    TrustAnchors, verify_chain,
};
pub use handler::{
    Disposition, EndReason, Handler, KeySource, Notification, Overdue, Principal, RequestContext,
    SessionFacts,
};
pub use inbox::{CertificateTicket, KeyTicket, NameTicket, RestoredTicket, Ticket};
pub use journal::SessionJournal;
pub use shard::{ANSWER_WITHIN, ASKED_WITHIN, TAKEN_WITHIN};
pub use shards::{
    BindError, Bound, ShardPanicked, Shards, StartError, TransportConfig, Upstairs, Wake, instead,
};
#[cfg(test)]
pub use testing::Desk;
pub use unplugged::{Time, Unplugged};
