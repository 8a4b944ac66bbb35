//! Benchmarks: what something costs the server in CPU time, beside what it is made of, measured in the same run.
//!
//! A figure in microseconds says something about a machine; a ratio of two figures of one run says something about the
//! program. Time is CPU time of the threads that do the server's part, so neither waiting nor the clients count.
//!
//! - [`mod@handshakes`]: what a handshake costs
//! - [`primitives`], [`echo`]: what it is made of, in the libraries that the server uses and on bare sockets
//! - [`gateway`]: the same handshakes through sockets and a shard
//! - [`cpu`]: the clocks
//!
//! And what an operator waits for, in milliseconds, beside the least that an answer takes:
//!
//! - [`mod@lists`]: every page and every list, with the large [`fleet`] on record

mod cpu;
mod echo;
mod fleet;
mod gateway;
mod handshakes;
mod lists;
mod primitives;

pub use cpu::process as process_cpu;
pub use handshakes::handshakes;
pub use lists::{ListsArgs, lists};
